"""The wheel: its metadata passes `twine check`, and `pipx run logitlab` and `uvx logitlab` can start it."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from workflow import checkout, tool

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a fresh checkout, with the setuptools of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout(ROOT, folder / "sources")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist"]
    subprocess.run([*build, folder / "sources"], check=True, capture_output=True)
    (found,) = (folder / "dist").glob("*.whl")
    return found


def test_twine_finds_nothing_in_the_wheel(wheel):
    check = [tool("twine"), "check", "--strict", wheel]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_command_has_the_name_of_the_package_which_pipx_and_uvx_start(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/entry_points.txt"))
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    scripts = configparser.ConfigParser()
    scripts.read_string(points)
    assert message_from_string(metadata)["Name"] in scripts["console_scripts"]


def test_the_wheel_has_the_files_that_the_package_reads(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    read = [*(ROOT / "cli").glob("*.txt"), *(ROOT / "cases" / "catalogue").glob("*.npz"), ROOT / "py.typed"]
    assert len(read) > 2
    assert {f"logitlab/{path.relative_to(ROOT).as_posix()}" for path in read} - names == set()
