"""`make lint` fails for a known weakness of a pinned package, but not for a missing network."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

SOUND = {"name": "numpy", "version": "2.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
WEAK = {"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.3", "3.2"]}]}


@pytest.fixture(scope="module")
def audit():
    path = Path(__file__).parent.parent / ".ci" / "audit.py"
    spec = importlib.util.spec_from_file_location("audit", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_known_weakness_fails_with_a_table(audit):
    message, code = audit.verdict([SOUND, SKIPPED, WEAK])
    assert code == 1
    assert ["jinja2", "3.1.2", "PYSEC-1", "3.1.3,", "3.2"] in [line.split() for line in message.splitlines()]
    assert "2 pinned packages looked at, 1 not known to pip-audit, 1 known weaknesses" in message


def test_the_audit_passes_without_a_weakness_and_counts_the_packages(audit):
    assert audit.verdict([SOUND, SKIPPED]) == (
        "audit: 1 pinned packages looked at, 1 not known to pip-audit, no known weakness", 0,
    )  # fmt: skip


@pytest.mark.parametrize("packages", [[], [SKIPPED]])
def test_the_audit_passes_without_data_and_reports_that(audit, packages):
    message, code = audit.verdict(packages)
    assert code == 0
    assert "cannot be reached" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("said", ["", "ERROR: no network", None])
def test_an_audit_that_prints_nothing_or_times_out_has_no_packages(audit, monkeypatch, said):
    def run(command, timeout, **_):
        assert {"--no-deps", "--disable-pip", "constraints.txt"} <= set(command)
        if said is None:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 1, said, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.audited("constraints.txt") == []


def test_the_output_of_the_audit_is_read_for_any_exit_code(audit, monkeypatch):
    said = json.dumps({"dependencies": [WEAK], "fixes": []})
    monkeypatch.setattr(subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1, said, ""))
    assert audit.verdict(audit.audited("constraints.txt"))[1] == 1
