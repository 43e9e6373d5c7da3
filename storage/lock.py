"""The lock of a run folder, so that only one run writes to it. The system frees it when the process ends."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..core.errors import UsageError

FILE = "lock"
# A process that tests the lock holds it for a moment.
TIMEOUT_SECONDS = 1.0


class Lock:
    """The lock of a folder, held until it is released or this process ends.

    Raises:
        UsageError: if another run holds it, naming its process.
        OSError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        # The lock belongs to the process, not to one thread.
        self._held = FileLock(self._path, timeout=TIMEOUT_SECONDS, thread_local=False)
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
        """Release the lock and remove its file."""
        with suppress(OSError):
            # Removed while it is locked, so that a waiting process notices and starts again. If the folder was removed
            # during the run, the file may belong to another run by now.
            if self._file is not None and os.path.samestat(self._path.stat(), self._file):
                self._path.unlink()
        self._held.release(force=True)


def holder(folder: Path) -> str | None:
    """Return a description of the process that writes to the folder, or None if none does."""
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
    except OSError:  # a read-only folder: no process can write to it from this machine
        return None
    probe.release()
    return None


def require_free(folder: Path) -> None:
    """Raise a UsageError if a run writes to the folder now."""
    found = holder(folder)
    if found is not None:
        raise UsageError(_in_use(folder, found))


def _in_use(folder: Path, found: str | None) -> str:
    return f"{folder} is in use by {found or 'another process'}; wait for that run, stop it, or choose another --out"
