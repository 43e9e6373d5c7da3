"""Ask pip-audit whether the pinned packages have known weaknesses: exit code 1, and a table, if one has.

Where its data cannot be reached, it prints a line and nothing fails.
"""

import json
import subprocess
import sys
from typing import NotRequired, TypedDict

from tabulate import tabulate

SECONDS = 120  # for all of it; a healthy network needs some ten
TIMEOUT = 5  # of one question


class Weakness(TypedDict):
    """A known weakness, as pip-audit reports it."""

    id: str
    fix_versions: list[str]


class Package(TypedDict):
    """One package; without ``vulns`` where pip-audit skipped it."""

    name: str
    version: NotRequired[str]
    vulns: NotRequired[list[Weakness]]


def audited(pins: str) -> list[Package]:
    """Return pip-audit's report on a file of pins, empty if it fails. Nothing is installed or resolved."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", pins, "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(TIMEOUT)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        packages: list[Package] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return []
    return packages


def verdict(packages: list[Package]) -> tuple[str, int]:
    """The message and the exit code."""
    # Where the index does not answer, pip-audit skips every package and reports no weakness.
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        return "audit: pip-audit or its data cannot be reached; the pinned packages were not looked at", 0
    weak = [(p["name"], p["version"], v["id"], ", ".join(v["fix_versions"])) for p in asked for v in p["vulns"]]
    message = f"audit: {len(asked)} pinned packages looked at, {len(packages) - len(asked)} not known to pip-audit"
    if not weak:
        return f"{message}, no known weakness", 0
    table = tabulate(weak, ["package", "pinned", "weakness", "fixed in"], "plain", disable_numparse=True)
    return f"{table}\n{message}, {len(weak)} known weaknesses: raise the pins in constraints.txt", 1


if __name__ == "__main__":
    message, code = verdict(audited(sys.argv[1]))
    print(message)
    sys.exit(code)
