"""How a file is written: whole or not at all, kept by the disk, never through a link, with an error for people."""

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
# Windows takes these for devices, whatever follows the first dot.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


def write(path: Path, data: bytes, just_before: Callable[[], None] | None = None, *, in_cache: bool = False) -> None:
    """Writes a file whole or not at all: beside its place first, then moved there.

    Whatever happens, neither a reader nor a crash sees half a file, and a link at its place is replaced, not followed.

    Args:
        path: the file; no two writers at once may have the same, except in a cache.
        data: what is in it.
        just_before: called when the data are on the disk and not yet in their place.
        in_cache: the file can be made again, and several processes may write it at once. It is not waited for until
            the disk has it: after a crash of the machine it may be damaged, which its reader must notice.

    Raises:
        OSError: as the system raises it; what was begun is removed, and what was there is as it was.
    """
    own = f".{secrets.token_hex(8)}" if in_cache else ""
    temporary = path.with_name(f".{path.name}{own}{TEMPORARY}")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        # "x", so that a link put there since is not followed.
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
    """Adds a line to a file, on the disk when it returns; if the system refuses, the file is as it was."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o666), "ab", buffering=0) as file:
        before, data = os.fstat(file.fileno()).st_size, f"{line}\n".encode()
        try:
            while data:  # a disk that runs full takes a part before it says so
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(before)
            raise


def sync_folder(folder: Path) -> None:
    """Has the disk keep what was moved into a folder, where the system offers that."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def refuse_existing(path: Path, kind: str = "file", message: str = "", also: str = "") -> None:
    """Raise a UsageError if there is anything at a path that a result is to be written to.

    Every verb that keeps results follows this rule. A report and a comparison are made from a run that is kept, and are
    written anew.

    Args:
        path: where the result is to be written.
        kind: ``file`` or ``folder``, whichever the user named.
        message: what to say of it, if not that it is there already.
        also: another way out, with a comma behind it.
    """
    if path.exists() or path.is_symlink():
        raise UsageError(f"{message or f'{path} already exists'}; {also}remove it, or choose another {kind}")


def subfolder(folder: Path, name: str) -> Path:
    """A folder within a folder, made where there is none.

    Raises:
        UsageError: if it is a link: what is written there would lie elsewhere.
    """
    inner = folder / name
    if inner.is_symlink():
        raise UsageError(f"{inner} is a link to {inner.readlink()}; LogitLab does not write through links: remove it")
    inner.mkdir(exist_ok=True)
    return inner


def refuse_links(folder: Path, rooms: Sequence[str] = ()) -> None:
    """UsageError if a file in a folder to be written to is a link, or one of the folder's rooms, or a thing in these:
    what is written there would lie elsewhere. Links to other folders are the user's own affair.
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
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, which may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain_name(name: str) -> str:
    """The name where it can be a file's on every system, else one made of it that can, and is its alone."""
    if _PLAIN.fullmatch(name) and not _DEVICES.match(name) and not name.endswith("."):
        return name
    words = re.sub(r"[^A-Za-z0-9_+]+", "-", name)[:60].strip("-")
    return f"{words or 'name'}-{digest(name.encode('utf-8', 'surrogatepass'))[:12]}"


@contextmanager
def explain_os_errors(folder: Path, otherwise: str) -> Iterator[None]:
    """What the system refuses in a folder becomes a UsageError: the folder, the reason, and what can be done.

    Args:
        folder: the one written to.
        otherwise: what to do once the reason is gone, such as ``choose another --out``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = REMEDIES.get(error.errno or 0)
        what = f"{remedy}, or " if remedy else ""
        raise UsageError(f"cannot write to {folder}: {reason}; {what}{otherwise}") from error
