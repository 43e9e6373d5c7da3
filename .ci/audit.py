"""Asks pip-audit whether the pinned packages have known weaknesses: exit code 1, and a table, if one has.

Where its data cannot be reached, that is told in a line and nothing fails.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

SECONDS = 120  # for all of it; a healthy network needs some ten
TIMEOUT = 5  # of one question


def audited(pins: str) -> Mapping[str, Any] | None:
    """What pip-audit says of a file of pins, as JSON; None if it says nothing. Nothing is installed or resolved."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", pins, "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(TIMEOUT)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        found: Mapping[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return found


def verdict(found: Mapping[str, Any] | None) -> tuple[str, int]:
    """What is to be told, and the exit code."""
    # Where the index answers for nothing, pip-audit skips every package and calls that no weakness.
    packages = found["dependencies"] if found else []
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        return "audit: pip-audit or its data cannot be reached; the pinned packages were not looked at", 0
    weak = [(p["name"], p["version"], v["id"], ", ".join(v["fix_versions"])) for p in asked for v in p["vulns"]]
    told = f"audit: {len(asked)} pinned packages looked at, {len(packages) - len(asked)} not known to pip-audit"
    if not weak:
        return f"{told}, no known weakness", 0
    lines = [("package", "pinned", "weakness", "mended in"), *weak]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(word.ljust(n) for word, n in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*table, f"{told}, {len(weak)} known weaknesses: raise the pins in constraints.txt"]), 1


if __name__ == "__main__":
    words, code = verdict(audited(sys.argv[1]))
    print(words)
    sys.exit(code)
