"""The cache that tests keep between sessions: references and compiled programs.

A change to the code that computes references, or another framework version, starts an empty cache.
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
# Only these two packages compute references. Frameworks keep programs under a hash of the compiled content.
ROOMS = ("oracle", "core")
DISTRIBUTIONS = (
    "jax", "jaxlib", "keras", "ml-dtypes", "numpy", "numpy-quaddtype", "optax", "python-flint", "tensorflow",
    "tensorflow-cpu", "torch",
)  # fmt: skip
MAX_CACHES = 3
# Another session may still use a cache that is younger.
SECONDS_KEPT = 24 * 3600


def installed() -> dict[str, str]:
    """Return the versions that decide the content of a cache, by the names of Python and the distributions."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def unpinned() -> list[str]:
    """Return the installed versions that differ from constraints.txt, each with the pinned one."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    here = {canonicalize_name(p.name): p.specifier for p in pins if p.marker is None or p.marker.evaluate()}
    return [
        f"{name} {found} (pinned: {here[name]})"
        for name, found in installed().items()
        if name in here and not here[name].contains(found, prereleases=True)
    ]


def digest(versions: Mapping[str, str], sources: Mapping[str, bytes]) -> str:
    """Return the name of the cache of these versions and these sources of references."""
    found = hashlib.sha256()
    for name, content in [*sorted((k, v.encode()) for k, v in versions.items()), *sorted(sources.items())]:
        found.update(f"|{name}:{len(content)}|".encode() + content)
    return found.hexdigest()[:16]


def sources() -> dict[str, bytes]:
    """Return the files that compute references, by their paths in the checkout."""
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    return {str(file.relative_to(ROOT)): file.read_bytes() for file in files}


def open_cache(base: Path | None = None) -> Path:
    """Return this session's cache folder, created if needed; remove old caches of other versions."""
    base = base or platformdirs.user_cache_path("logitlab-tests")
    folder = base / digest(installed(), sources())
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    remove_old(base, time.time())
    return folder


def remove_old(base: Path, now: float) -> None:
    """Remove all caches but the last used ones and those used within a day."""
    caches = sorted((p for p in base.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in caches[MAX_CACHES:]:
        if now - folder.stat().st_mtime > SECONDS_KEPT:
            shutil.rmtree(folder, ignore_errors=True)
