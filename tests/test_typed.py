"""Types for users: mypy finds LogitLab in the environment that `make setup` makes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The types of the frameworks and pandas take half a minute and are not tested here.
CONFIGURATION = """[mypy]
follow_imports = skip
[mypy-logitlab,logitlab.core.errors,logitlab.oracle.*]
follow_imports = silent
"""


@pytest.fixture
def environment(tmp_path):
    """Return an environment as `make setup` leaves it, without the packages."""
    make = shutil.which("make")
    assert make is not None, "make is needed to set up an environment"
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (folder / ".ready").touch()
    subprocess.run([make, "--silent", "setup", f"VENV={folder}"], cwd=ROOT, check=True, timeout=60)
    return folder


@pytest.mark.venv
def test_mypy_finds_the_types_in_an_environment_made_by_make_setup(environment, tmp_path):
    (tmp_path / "mypy.ini").write_text(CONFIGURATION)
    (tmp_path / "script.py").write_text("import logitlab\n\nx: int = logitlab.reference([[1.0]], [0])\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", environment / "bin/python", "script.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    (line, _) = checked.stdout.splitlines()
    assert line == (
        'script.py:3: error: Incompatible types in assignment (expression has type "Reference", variable has type '
        '"int")  [assignment]'
    )
