"""The bound of the cache: what lies in it, and what goes when it grows beyond its limit.

What was used longest ago goes first. Nothing is locked: several processes, on several machines that share a home
folder, may read, write and remove at the same moment. A file is removed whole, and what is gone is made again.
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
# The whole folder is looked at this often at most, except by a process that writes much.
SECONDS_BETWEEN_LOOKS, BYTES_BETWEEN_LOOKS = 3600, 64 * 2**20
DAY = 24 * 3600
# Several files make one thing here, and a process uses them for as long as it lives.
KEPT_FOR_A_DAY = (CacheKind.TORCH, CacheKind.ENVIRONMENTS)
# The folder may be any, even a home folder: what has other names is not LogitLab's, and stays.
_PROGRAMS = re.compile(r"(jax|torch)-[0-9a-f]{12}")
_REFERENCE = re.compile(rf"[0-9a-f]{{64}}\.npz|\.[0-9a-f]{{64}}\.npz\..*{re.escape(TEMPORARY)}")
_ENVIRONMENT = re.compile(r"[0-9a-f]{16}|building-.*")


@dataclass(frozen=True)
class CacheEntry:
    """What is kept or removed as a whole: a file, or an environment.

    Attributes:
        size: in bytes, as the disk counts them.
        used: when it was last used, in seconds since 1970.
    """

    kind: CacheKind
    path: Path
    size: int
    used: float

    def remove(self) -> None:
        """Removes it; what another process has removed or holds open (on Windows) is none of our concern."""
        if self.kind is CacheKind.ENVIRONMENTS:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


def cache_limit() -> float:
    """The limit in bytes, ``LOGITLAB_CACHE_LIMIT`` in GiB or 2 GiB; ``inf`` means none.

    Raises:
        UsageError: if the variable is no number of GiB.
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
    """What lies in the cache, of all kinds or of these; empty where the cache is switched off."""
    root = cache_root()
    found = [] if root is None else [*_references(root), *_programs(root), *_environments(root)]
    return [entry for entry in found if not kinds or entry.kind in kinds]


def unknown_folders() -> list[Path]:
    """The folders in the cache folder that LogitLab does not know, and neither counts nor removes."""
    root = cache_root()
    known = (CacheKind.REFERENCES, CacheKind.ENVIRONMENTS)
    return sorted(
        Path(f) for f in _scan(root) if f.is_dir() and f.name not in known and not _PROGRAMS.fullmatch(f.name)
    )


def trim_cache() -> int:
    """Removes what was used longest ago until the rest is within the limit; returns how many bytes that freed.

    Environments and PyTorch's programs that were used in the last day stay, and do not count. A wrong
    ``LOGITLAB_CACHE_LIMIT`` counts as the default, since a run is no place to complain: `logitlab doctor` does.
    """
    root = cache_root()
    if root is None or not root.is_dir():
        return 0
    with suppress(OSError):
        os.utime(root)  # says when the folder was last looked at
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
    """Removes everything of all kinds, or of these; returns how many bytes that freed."""
    entries = cache_entries(*kinds)
    for entry in entries:
        entry.remove()
    return sum(entry.size for entry in entries)


_written = 0  # by this process since it last trimmed the cache


def trim_if_due(written: int = 0) -> None:
    """Trims the cache if nobody did for an hour, or this process has written 64 MiB since it did.

    Args:
        written: how many bytes the caller has just written into it.
    """
    global _written  # noqa: PLW0603
    root = cache_root()
    if root is None:
        return
    _written += written
    try:
        due = time.time() - root.stat().st_mtime > SECONDS_BETWEEN_LOOKS
    except OSError:
        return
    if due or _written >= BYTES_BETWEEN_LOOKS:
        _written = 0
        trim_cache()


def touch(path: Path) -> None:
    """Notes that a file or an environment of the cache is used now, at most once an hour."""
    # Many disks do not note when a file is read. A copy that a user may only read stays as it is.
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > SECONDS_BETWEEN_LOOKS:
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


def _files(kind: CacheKind, files: Iterator[os.DirEntry[str]]) -> Iterator[CacheEntry]:
    for file in files:
        with suppress(OSError):
            found = file.stat(follow_symlinks=False)
            # Windows does not say how much of the disk a file takes.
            size = getattr(found, "st_blocks", -(-found.st_size // 512)) * 512
            yield CacheEntry(kind, Path(file), size, max(found.st_mtime, found.st_atime))


def _walk(folder: os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    for entry in _scan(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry)
        else:
            yield entry


def _scan(folder: Path | os.DirEntry[str] | None) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing if there is no such folder, or none any more."""
    if folder is None:
        return []
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
