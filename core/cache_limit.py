"""The size limit of the cache, and the removal of its oldest entries.

The entries that were used longest ago are removed first. There is no lock: processes on several machines may share the
folder and read, write and remove at the same time. A file is removed whole, and a removed entry is built again.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .cache_folder import CacheKind, cache_root
from .errors import UsageError
from .files import TEMPORARY

LIMIT_VARIABLE, DEFAULT_LIMIT = "LOGITLAB_CACHE_LIMIT", 2.0  # GiB
# How often the whole folder is scanned at most, except by a process that writes this many bytes.
SECONDS_BETWEEN_SCANS, BYTES_BETWEEN_SCANS = 3600, 64 * 2**20
DAY = 24 * 3600
# An entry here is several files, and a process uses them until it ends.
KEPT_FOR_A_DAY = (CacheKind.TORCH, CacheKind.TINYGRAD, CacheKind.ENVIRONMENTS)
# The user may choose any folder, even a home folder. Files with other names are not LogitLab's and stay.
_PROGRAMS = re.compile(r"(jax|torch|tinygrad)-[0-9a-f]{12}")
_REFERENCE = re.compile(rf"[0-9a-f]{{64}}\.npz|\.[0-9a-f]{{64}}\.npz\..*{re.escape(TEMPORARY)}")
_CHECK = re.compile(r"[0-9a-f]{64}\.json")
_ENVIRONMENT = re.compile(r"[0-9a-f]{16}|building-.*")


@dataclass(frozen=True)
class CacheEntry:
    """A file or an environment, which is kept or removed as a whole.

    Attributes:
        size: bytes on the disk.
        used: time of the last use, in seconds since 1970.
    """

    kind: CacheKind
    path: Path
    size: int
    used: float

    def remove(self) -> None:
        """Remove the entry. Ignore a file that another process has removed or, on Windows, holds open."""
        if self.kind is CacheKind.ENVIRONMENTS:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


def cache_limit() -> float:
    """Return the limit in bytes: ``LOGITLAB_CACHE_LIMIT`` GiB, 2 GiB by default; ``inf`` turns the limit off.

    Raises:
        UsageError: if the variable is not a number of GiB.
    """
    given = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT)
    try:
        limit = float(given) * 2**30
    except ValueError:
        limit = float("nan")
    if not limit >= 0:
        raise UsageError(f"{LIMIT_VARIABLE} is {given!r}; set it to a number of GiB, or inf")
    return limit


def cache_entries(*kinds: CacheKind) -> list[CacheEntry]:
    """Return the entries of the cache, of all kinds or of these; none if the cache is off."""
    root = cache_root()
    found = [] if root is None else [*_references(root), *_programs(root), *_environments(root), *_checks(root)]
    return [entry for entry in found if not kinds or entry.kind in kinds]


def unknown_folders() -> list[Path]:
    """Return the folders in the cache folder that are not LogitLab's, which it neither counts nor removes."""
    root = cache_root()
    known = (CacheKind.REFERENCES, CacheKind.ENVIRONMENTS, CacheKind.CHECKS)
    return sorted(
        Path(f) for f in _scan(root) if f.is_dir() and f.name not in known and not _PROGRAMS.fullmatch(f.name)
    )


def trim_cache() -> int:
    """Remove the entries used longest ago until the rest is within the limit, and return how many bytes that freed.

    Environments and programs of PyTorch and tinygrad that were used in the last day stay and do not count. An invalid
    ``LOGITLAB_CACHE_LIMIT`` counts as the default, so that it does not stop a run; `logitlab doctor` reports it.
    """
    root = cache_root()
    if root is None or not root.is_dir():
        return 0
    with suppress(OSError):
        os.utime(root)  # records the time of this scan
    try:
        limit = cache_limit()
    except UsageError:
        limit = DEFAULT_LIMIT * 2**30
    now = time.time()
    entries = [e for e in cache_entries() if not (e.kind in KEPT_FOR_A_DAY and now - e.used < DAY)]
    total = sum(entry.size for entry in entries)
    freed = 0
    for entry in sorted(entries, key=lambda entry: entry.used):
        if total - freed <= limit:
            break
        entry.remove()
        freed += entry.size
    return freed


def clear_cache(*kinds: CacheKind) -> int:
    """Remove the entries of all kinds, or of these, and return how many bytes that freed."""
    entries = cache_entries(*kinds)
    for entry in entries:
        entry.remove()
    return sum(entry.size for entry in entries)


_written = 0  # bytes that this process has written since it last trimmed the cache


def trim_if_due(written: int = 0) -> None:
    """Trim the cache if its last scan is an hour old, or this process has written 64 MiB since its own scan.

    Args:
        written: how many bytes the caller has just written to the cache.
    """
    global _written  # noqa: PLW0603
    root = cache_root()
    if root is None:
        return
    _written += written
    try:
        due = time.time() - root.stat().st_mtime > SECONDS_BETWEEN_SCANS
    except OSError:
        return
    if due or _written >= BYTES_BETWEEN_SCANS:
        _written = 0
        trim_cache()


def touch(path: Path) -> None:
    """Record that a file or an environment of the cache is used now, at most once an hour."""
    # Many file systems do not record reads. A read-only copy stays unchanged.
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > SECONDS_BETWEEN_SCANS:
            os.utime(path)


def _references(root: Path) -> Iterator[CacheEntry]:
    for folder in _scan(root / CacheKind.REFERENCES):
        if len(folder.name) == 2 and folder.is_dir():
            files = (file for file in _scan(folder) if _REFERENCE.fullmatch(file.name))
            yield from _files(CacheKind.REFERENCES, files)


def _programs(root: Path) -> Iterator[CacheEntry]:
    for folder in _scan(root):
        named = _PROGRAMS.fullmatch(folder.name)
        if named and folder.is_dir(follow_symlinks=False):
            yield from _files(CacheKind(named[1]), _walk(folder))


def _environments(root: Path) -> Iterator[CacheEntry]:
    for folder in _scan(root / CacheKind.ENVIRONMENTS):
        if _ENVIRONMENT.fullmatch(folder.name) and folder.is_dir(follow_symlinks=False):
            with suppress(OSError):
                size = sum(e.size for e in _files(CacheKind.ENVIRONMENTS, _walk(folder)))
                yield CacheEntry(CacheKind.ENVIRONMENTS, Path(folder), size, folder.stat().st_mtime)


def _checks(root: Path) -> Iterator[CacheEntry]:
    files = (file for file in _scan(root / CacheKind.CHECKS) if _CHECK.fullmatch(file.name))
    yield from _files(CacheKind.CHECKS, files)


def _files(kind: CacheKind, files: Iterator[os.DirEntry[str]]) -> Iterator[CacheEntry]:
    for file in files:
        with suppress(OSError):
            found = file.stat(follow_symlinks=False)
            # Windows does not report the blocks of a file.
            size = getattr(found, "st_blocks", -(-found.st_size // 512)) * 512
            yield CacheEntry(kind, Path(file), size, max(found.st_mtime, found.st_atime))


def _walk(folder: os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    for entry in _scan(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry)
        else:
            yield entry


def _scan(folder: Path | os.DirEntry[str] | None) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, or none if the folder does not exist or was removed."""
    if folder is None:
        return []
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
