"""Two runs never write into one folder: who writes holds a lock, which the system frees when the process ends."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..core.errors import UsageError

FILE = "lock"
# Somebody who only looks whether the lock is held holds it for a moment.
PATIENCE = 1.0


class Lock:
    """The lock of a folder, held until it is released, or until this process ends in whatever way.

    Raises:
        UsageError: if another run holds it, naming its process.
        OSError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        # Of the process, not of the thread that made it.
        self._held = FileLock(self._path, timeout=PATIENCE, thread_local=False)
        self._file: os.stat_result | None = None
        try:
            self._held.acquire()
        except Timeout:
            raise UsageError(_in_use(folder, holder(folder))) from None
        try:
            self._file = self._path.stat()
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Frees the folder for others, and leaves no file behind."""
        with suppress(OSError):
            # Still held: who waits for this very file sees that it has no name any more, and begins again. A folder
            # that was removed under the run may be another run's by now, and so may the file.
            if self._file is not None and os.path.samestat(self._path.stat(), self._file):
                self._path.unlink()
        self._held.release(force=True)


def holder(folder: Path) -> str | None:
    """The process that writes into the folder, in words; None if none does."""
    path = folder / FILE
    if not path.is_file():
        return None
    probe = FileLock(path, thread_local=False)
    try:
        probe.acquire(blocking=False)
    except Timeout:
        with suppress(OSError, UnicodeError):
            return path.read_text(encoding="utf-8").strip() or "another process"
        return "another process"
    except OSError:  # it can be read and not locked: nobody can write there from here, this process included
        return None
    probe.release()
    return None


def require_free(folder: Path) -> None:
    """UsageError if a run writes into the folder now."""
    found = holder(folder)
    if found is not None:
        raise UsageError(_in_use(folder, found))


def _in_use(folder: Path, found: str | None) -> str:
    return f"{folder} is in use by {found or 'another process'}; wait for that run, stop it, or choose another --out"
