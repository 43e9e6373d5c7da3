"""The cache that the tests keep from one session to the next: references and compiled programs.

A change to what computes references, or another version of a framework, starts an empty one.
"""

import hashlib
import os
import platform
import shutil
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
# References come from these two rooms alone. Programs are kept by frameworks under the content of what they compile.
ROOMS = ("oracle", "core")
DISTRIBUTIONS = (
    "jax", "jaxlib", "keras", "ml-dtypes", "numpy", "numpy-quaddtype", "optax", "python-flint", "tensorflow",
    "tensorflow-cpu", "torch",
)  # fmt: skip
MAX_CACHES = 3
# Another session may still use a cache that is younger.
SECONDS_KEPT = 24 * 3600


def installed() -> dict[str, str]:
    """The versions that decide what a cache holds, by the names of Python and the distributions."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def unpinned() -> list[str]:
    """Of the installed versions those that are not constraints.txt's, each with the pinned one."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    here = {canonicalize_name(p.name): p.specifier for p in pins if p.marker is None or p.marker.evaluate()}
    return [
        f"{name} {found} (pinned: {here[name]})"
        for name, found in installed().items()
        if name in here and not here[name].contains(found, prereleases=True)
    ]


def digest(versions: Mapping[str, str], sources: Mapping[str, bytes]) -> str:
    """The name of the cache of these versions, and of these sources of references."""
    found = hashlib.sha256()
    for name, content in [*sorted((k, v.encode()) for k, v in versions.items()), *sorted(sources.items())]:
        found.update(f"|{name}:{len(content)}|".encode() + content)
    return found.hexdigest()[:16]


def sources() -> dict[str, bytes]:
    """The files that compute references, by their paths in the checkout."""
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    return {str(file.relative_to(ROOT)): file.read_bytes() for file in files}


def open_cache(base: Path | None = None) -> Path:
    """This session's cache folder, made if there is none; older ones of other versions are removed."""
    base = base or platformdirs.user_cache_path("logitlab-tests")
    folder = base / digest(installed(), sources())
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    remove_old(base, time.time())
    return folder


def remove_old(base: Path, now: float) -> None:
    """Removes all but the caches used last, and keeps those that were used within a day."""
    caches = sorted((p for p in base.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in caches[MAX_CACHES:]:
        if now - folder.stat().st_mtime > SECONDS_KEPT:
            shutil.rmtree(folder, ignore_errors=True)
