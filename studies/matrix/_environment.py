"""Environments: built once for each set of contents, kept in the cache, and never used half built."""

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
    """A set cannot be installed or measured: the last lines that were printed."""


def environments_folder() -> Path | None:
    """Where environments are kept, beside the references; None where the cache is switched off."""
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
    """The Python of an environment with LogitLab and the requirements, built in a folder of ``root`` if need be.

    Raises:
        SetError: if the requirements cannot be installed; nothing is kept then.
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
    """The full version of an interpreter; UsageError if it cannot be run."""
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
        # In one step, so that nobody meets it half built. What else is in it may not know its new place, but its
        # interpreter does.
        building.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was quicker
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def make_environment(folder: Path, python: str, uv: str | None) -> None:
    """An environment without anything in it but, where it is not uv that installs, pip."""
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
        # pip marks the lines that say what is wrong; uv prints them last.
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise SetError(" ".join(errors[-LAST_LINES:]))


def variables() -> dict[str, str]:
    """The variables for another environment's Python, without those that lead it to the packages of this one.

    Modules are compiled when they are first imported, and that is kept: pip would compile all of them.
    """
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PYTHONDONTWRITEBYTECODE")
    return {k: v for k, v in os.environ.items() if k not in ours} | {"PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
