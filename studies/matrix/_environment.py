"""Virtual environments: built once for each set of contents, and kept in the cache."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.cache_folder import CacheKind, cache_folder
from ...core.cache_limit import touch
from ...core.errors import UsageError
from ._source import LogitLabSource

SCHEMA = 1
LAST_LINES = 3
Tell = Callable[[str], None]


class SetError(Exception):
    """A set cannot be installed or measured; the message holds the last lines of the output."""


def environments_folder() -> Path | None:
    """Return the folder of environments in the cache, or None if the cache is off."""
    return cache_folder(CacheKind.ENVIRONMENTS)


def environment(
    root: Path,
    source: LogitLabSource,
    extras: Sequence[str],
    requirements: Sequence[str],
    python: str,
    tell: Tell,
    *,
    fresh: bool,
) -> Path:
    """Return the Python of an environment with LogitLab and the requirements, and build it in ``root`` if needed.

    Raises:
        SetError: if the requirements cannot be installed. The environment is then removed.
        UsageError: if the interpreter cannot be run, or the folder cannot be written.
    """
    facts = [SCHEMA, interpreter(python), source.digest, sorted(extras), sorted(requirements)]
    folder = root / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    if fresh and folder.exists():
        shutil.rmtree(folder)
    if not folder.exists():
        tell(f"building an environment with {' '.join(requirements)}")
        _build(folder, source.requirement(extras), requirements, python)
    touch(folder)
    return _python(folder)


def interpreter(python: str) -> str:
    """Return the full version of an interpreter, or raise a UsageError if it does not run."""
    try:
        return subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"{python} does not run as a Python interpreter ({error}); give another --python") from error


def _build(folder: Path, logitlab: str, requirements: Sequence[str], python: str) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder.parent} ({error.strerror}); set LOGITLAB_CACHE to a writable folder"
        ) from error
    try:
        uv = shutil.which("uv")
        make_environment(building, python, uv)
        _install(building, [logitlab, *requirements], uv)
        # Renamed in one step, so that no process uses a half built environment. Scripts in it may hold the old path;
        # its interpreter works.
        building.rename(folder)
    except OSError:
        if not folder.exists():  # if it exists, another process has built it
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def make_environment(folder: Path, python: str, uv: str | None) -> None:
    """Create an environment that is empty, except for pip if uv is missing."""
    command = [uv, "venv", "--quiet", "--clear", "--python", python] if uv else [python, "-m", "venv", "--clear"]
    _run_quietly([*command, str(folder)])


def _install(folder: Path, requirements: Sequence[str], uv: str | None) -> None:
    python = str(_python(folder))
    pip = (
        [uv, "pip", "install", "--python", python]
        if uv
        else [python, "-m", "pip", "install", "--no-input", "--no-compile"]
    )
    _run_quietly([*pip, "--quiet", *requirements])


def _run_quietly(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=variables())
    if result.returncode:
        lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        # pip marks the lines with the error; uv prints them last.
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise SetError(" ".join(errors[-LAST_LINES:]))


def variables() -> dict[str, str]:
    """Return the variables for another environment's Python, without those that would add packages of this one.

    Python compiles modules at their first import and keeps them; pip would compile all modules.
    """
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PYTHONDONTWRITEBYTECODE")
    return {k: v for k, v in os.environ.items() if k not in ours} | {"PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
