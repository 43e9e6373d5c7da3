"""Installing: pins for each Python, packages that an extra leaves out, and `make setup` with uv or pip."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tomllib
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from logitlab.cli import main
from logitlab.core import extras
from logitlab.execution import registry
from logitlab.execution.registry import Description
from logitlab.studies import doctor
from logitlab.studies.browse import listing

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PREFIX = "Programming Language :: Python :: 3."
PYTHONS = [line.removeprefix(PREFIX[:-2]) for line in PROJECT["classifiers"] if line.startswith(PREFIX)]
PRESENT = "jax>=0.4; extra == 'jax'"
ABSENT = ["tensorflow>=2.18; python_version < '3.0' and extra == 'tensorflow'", "numpy>=2.0", PRESENT]
ALL = "logitlab[jax,tensorflow]; extra == 'all'"


def test_the_classifiers_begin_with_the_oldest_python_supported():
    assert [f">={PYTHONS[0]}"] == [PROJECT["requires-python"]]
    assert len(PYTHONS) >= 4


@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_has_one_pin_of_each_package(python):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    here = Counter(canonicalize_name(p.name) for p in pins if p.marker is None or p.marker.evaluate(environment))
    assert {name: n for name, n in here.items() if n != 1} == {}
    assert set(here) == {canonicalize_name(p.name) for p in pins}


@pytest.mark.parametrize("python", PYTHONS)
def test_only_tensorflow_and_paddle_have_no_wheel_for_the_newest_python(python):
    def is_brought(requirement: Requirement) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"python_version": python})

    brought = {
        extra: any(is_brought(Requirement(line)) for line in lines)
        for extra, lines in PROJECT["optional-dependencies"].items()
    }
    absent = {extra for extra, something in brought.items() if not something}
    assert absent == ({"tensorflow", "paddle"} if python == "3.14" else set())


@pytest.fixture
def without_tensorflow(monkeypatch):
    """Give the extra `tensorflow` a marker that this Python does not meet."""
    declared = metadata.metadata("logitlab")
    monkeypatch.setattr(extras.metadata, "requires", lambda name: [*ABSENT, ALL])
    monkeypatch.setattr(extras.metadata, "metadata", lambda name: declared)
    major, minor, _ = platform.python_version_tuple()
    return f"tensorflow has no wheel for Python {major}.{minor}: not installed; everything else works"


def test_an_extra_whose_packages_have_no_wheel_is_named(without_tensorflow):
    assert extras.left_out() == ("tensorflow",)
    assert extras.notices() == [without_tensorflow]
    assert extras.notice("jax") is None
    assert extras.notice("numpy") is None


def test_nothing_is_reported_without_such_an_extra(monkeypatch):
    monkeypatch.setattr(extras.metadata, "requires", lambda name: [PRESENT, ALL])
    assert extras.left_out() == ()
    assert extras.notices() == []


@pytest.mark.parametrize("failed", [False, True])
def test_doctor_and_frameworks_name_that_extra(without_tensorflow, monkeypatch, capsys, failed):
    """They do not name it if the framework is installed anyway and fails."""
    described = {"numpy": registry.describe("numpy")}
    gone = Description("tensorflow", missing="cannot be imported: no module", failed=failed)
    monkeypatch.setattr(listing, "describe_frameworks", lambda *_: described | {"tensorflow": gone})
    (message,) = (f.message for f in doctor.examine() if f.subject == "tensorflow")
    assert (message == without_tensorflow) is not failed
    assert ("no module" in message) is failed
    assert main(["frameworks"]) == 0
    assert (f"missing: {without_tensorflow}\n" in capsys.readouterr().out) is not failed


# --- make setup -------------------------------------------------------------------------------------------------------

PYTHON = """#!/bin/sh
echo "python $*" >> "$LOG"
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
"""


@pytest.fixture
def setup(tmp_path):
    """Return a function that runs `make setup` with a Python and a uv that record their arguments."""
    checkout, path = tmp_path / "checkout", tmp_path / "bin"
    checkout.mkdir()
    path.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)

    def program(name: str, text: str) -> Path:
        (path / name).write_text(text)
        (path / name).chmod(0o755)
        return path / name

    def run(*arguments: str, uv: int | None) -> list[str]:
        log = tmp_path / "log"
        python = program("python-that-logs", PYTHON)
        if uv is not None:
            program("uv", f'#!/bin/sh\necho "uv $*" >> "$LOG"\nexit {uv}\n')
        # Only the programs that a Makefile needs, so that a user's uv is not found.
        for tool in ("sh", "mkdir", "touch", "date", "cp", "rm", "ln"):
            if not (path / tool).exists():
                (path / tool).symlink_to(shutil.which(tool))
        make = [shutil.which("make"), str(Path(".venv/.ready")), f"PYTHON={python}", *arguments]
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "TORCH"))}
        subprocess.run(
            make, cwd=checkout, check=True, capture_output=True, env=variables | {"PATH": str(path), "LOG": str(log)}
        )
        return [line for line in log.read_text().splitlines() if " install" in line]

    return run


def test_pip_installs_the_packages_that_a_run_needs(setup):
    (pip,) = setup(uv=None)
    assert pip == "python -m pip install --quiet --no-compile --constraint constraints.txt --editable .[all]"


def test_uv_installs_them_where_it_is_on_the_path(setup):
    (uv,) = setup(uv=0)
    assert uv == (
        "uv pip install --quiet --python .venv/bin/python --torch-backend auto --constraint constraints.txt "
        "--editable .[all]"
    )


def test_pip_installs_them_where_uv_fails(setup):
    uv, pip = setup(uv=2)
    assert uv.startswith("uv pip install")
    assert pip.startswith("python -m pip install")


def test_the_build_of_pytorch_can_be_chosen(setup):
    uv, pip = setup("TORCH=cpu", uv=2)
    assert "--torch-backend cpu" in uv
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in pip
