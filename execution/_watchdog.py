"""The watchdog thread of a worker process: it watches the parent, the memory and the size of the log."""

import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import cache
from multiprocessing import connection, parent_process
from pathlib import Path

import psutil

from ..core import memory

if sys.platform == "linux":
    import fcntl

POLL_SECONDS = 0.1
# The exit code of a worker that exceeded its memory limit.
TOO_MUCH_MEMORY = 97
# A longer log is cut to its first FIRST and its last LAST bytes.
MAX_LOG_BYTES, FIRST, LAST = 2**23, 2**20, 2**20
# A framework keeps a few threads for each core.
_MAX_THREADS = 1000 + 16 * (os.cpu_count() or 1)
_MAX_FILES = 512


def default_limit() -> int:
    """Return the default memory limit of a worker in bytes: half of the machine's memory."""
    return memory.total() // 2


def keep_watch(log: Path, limit: int) -> None:
    """Kill this process when its parent dies or its resident memory exceeds ``limit`` bytes, even during a call.

    A killed run thus leaves no process behind that keeps cores and memory busy. The thread also keeps the log short.
    """
    _prefer_for_oom_kill()
    parent = parent_process()
    if parent is not None:
        _end_with(parent.sentinel)
    sentinel = [] if parent is None else [parent.sentinel]
    threading.Thread(target=_watch, args=(sentinel, log, limit), name="watchdog", daemon=True).start()


def resident() -> int:
    """Return the bytes of resident memory of this process."""
    return int(_process(os.getpid()).memory_info().rss)


@cache  # a new object reads when its process was created; by number, since a fork is another process
def _process(number: int) -> psutil.Process:
    return psutil.Process(number)


def return_freed_memory() -> None:
    """Return freed memory to the system; glibc keeps small pieces for later."""
    with suppress(AttributeError, OSError, TypeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)


def outgrown(limit: int, held: int) -> bool:
    """Return whether this process, which holds so many bytes, leaks memory, threads or files.

    Then it should run no further call.
    """
    return held > limit // 2 or _process(os.getpid()).num_threads() > _MAX_THREADS or _open_files() > _MAX_FILES


def _open_files() -> int:
    """Return a lower bound of the open files: the lowest free descriptor, which needs no listing."""
    try:
        free = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return _MAX_FILES + 1
    os.close(free)
    return free


def _watch(sentinel: list[int], log: Path, limit: int) -> None:
    me = psutil.Process()
    while not connection.wait(sentinel, POLL_SECONDS):
        if me.memory_info().rss > limit:
            os._exit(TOO_MUCH_MEMORY)
        _shorten(log)
    os._exit(1)


def _prefer_for_oom_kill() -> None:
    """Make Linux kill this process, rather than the run, when the machine runs out of memory."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with(sentinel: int) -> None:
    """Make the kernel kill this process and its children when the sentinel closes.

    The watchdog thread cannot run while native code holds the interpreter. The sentinel is a pipe that only the parent
    can write to, and it closes when the parent dies.
    """
    if sys.platform == "linux":
        os.setsid()
        signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)


def _shorten(log: Path) -> None:
    """Cut the middle out of a long log, so that it does not fill the disk."""
    with suppress(OSError):
        size = log.stat().st_size
        if size <= MAX_LOG_BYTES:
            return
        # Other writers append, so they continue behind the shortened text.
        file = os.open(log, os.O_RDWR | os.O_APPEND)
        try:
            os.lseek(file, size - LAST, os.SEEK_SET)
            end = os.read(file, LAST)
            os.ftruncate(file, FIRST)
            os.write(file, b"\n[LogitLab left out what was printed here]\n" + end)
        finally:
            os.close(file)
