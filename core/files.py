"""Writing files: atomically, synced to the disk, never through a link, and with readable errors."""

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UsageError

TEMPORARY = ".tmp"
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
}
_PLAIN = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]{0,99}")
# Windows reads these names as devices, whatever follows the first dot.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


def write(path: Path, data: bytes, just_before: Callable[[], None] | None = None, *, in_cache: bool = False) -> None:
    """Write a file atomically: to a temporary file first, which is then renamed.

    A reader or a crash never sees half a file. A link at the path is replaced, not followed.

    Args:
        path: the file. Outside a cache, only one process may write it at a time.
        data: the content.
        just_before: called after the data are on the disk and before the file is renamed.
        in_cache: allow several processes to write the file at once, and do not sync it to the disk. After a crash of
            the machine the file may be damaged, and its reader must check it.

    Raises:
        OSError: as the system raises it. The temporary file is removed, and an existing file is unchanged.
    """
    own = f".{secrets.token_hex(8)}" if in_cache else ""
    temporary = path.with_name(f".{path.name}{own}{TEMPORARY}")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        # "x" fails if someone has put a link there meanwhile.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            if not in_cache:
                os.fsync(file.fileno())
        if just_before is not None:
            just_before()
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if not in_cache:
        sync_folder(path.parent)


def append(path: Path, line: str) -> None:
    """Add a line to a file and sync it to the disk. After an error the file is unchanged."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o666), "ab", buffering=0) as file:
        before, data = os.fstat(file.fileno()).st_size, f"{line}\n".encode()
        try:
            while data:  # a full disk writes a part before it raises
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(before)
            raise


def sync_folder(folder: Path) -> None:
    """Sync a folder to the disk, if the system can, so that a renamed file stays."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def refuse_existing(path: Path, kind: str = "file", message: str = "", also: str = "") -> None:
    """Raise a UsageError if the path of a new result exists.

    Every verb that stores results follows this rule. Reports and comparisons are overwritten, since their run is kept.

    Args:
        path: where the result will be written.
        kind: ``file`` or ``folder``, whichever the user named.
        message: the start of the error, by default that the path exists.
        also: another solution, followed by a comma.
    """
    if path.exists() or path.is_symlink():
        raise UsageError(f"{message or f'{path} already exists'}; {also}remove it, or choose another {kind}")


def subfolder(folder: Path, name: str) -> Path:
    """Return a folder within a folder, and create it if needed.

    Raises:
        UsageError: if it is a link, which would lead the files elsewhere.
    """
    inner = folder / name
    if inner.is_symlink():
        raise UsageError(f"{inner} is a link to {inner.readlink()}; LogitLab does not write through links: remove it")
    inner.mkdir(exist_ok=True)
    return inner


def refuse_links(folder: Path, rooms: Sequence[str] = ()) -> None:
    """Raise a UsageError if an output folder holds a link that would lead written files elsewhere.

    These are links to files, links named in ``rooms``, and links inside these rooms. A link to any other folder is
    allowed.
    """
    if not folder.is_dir():
        return
    inside = [path for name in rooms if not (folder / name).is_symlink() for path in (folder / name).rglob("*")]
    for path in (*folder.iterdir(), *inside):
        if path.is_symlink() and (path.name in rooms or path in inside or not path.is_dir()):
            raise UsageError(
                f"{path} is a link; LogitLab does not write through links: remove it, or choose another --out"
            )


def digest(data: bytes) -> str:
    """Return the SHA-256 of data in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, which may be larger than memory, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain_name(name: str) -> str:
    """Return the name if every system allows it as a file name, or else an allowed name derived from it and unique."""
    if _PLAIN.fullmatch(name) and not _DEVICES.match(name) and not name.endswith("."):
        return name
    start = re.sub(r"[^A-Za-z0-9_+]+", "-", name)[:60].strip("-")
    return f"{start or 'name'}-{digest(name.encode('utf-8', 'surrogatepass'))[:12]}"


@contextmanager
def explain_os_errors(folder: Path, otherwise: str) -> Iterator[None]:
    """Turn an OSError into a UsageError that says how to fix it.

    Args:
        folder: the folder written to.
        otherwise: what else the user can do, such as ``choose another --out``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = REMEDIES.get(error.errno or 0)
        fix = f"{remedy}, or {otherwise}" if remedy else otherwise
        raise UsageError(f"cannot write to {folder}: {reason}; {fix}") from error
