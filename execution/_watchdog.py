"""What a worker process watches beside its calls: its parent, its memory, and how much it prints."""

import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import connection, parent_process
from pathlib import Path

import psutil

from ..core import memory

if sys.platform == "linux":
    import fcntl

POLL_SECONDS = 0.1
# The exit code of a worker that took more memory than it may.
TOO_MUCH_MEMORY = 97
# A log that is longer keeps so much of its beginning and of its end.
MAX_LOG_BYTES, FIRST, LAST = 2**23, 2**20, 2**20
# A framework keeps a few threads for each core.
_MAX_THREADS = 1000 + 16 * (os.cpu_count() or 1)
_MAX_FILES = 512


def default_limit() -> int:
    """Bytes of resident memory that one worker may take: half of what there is."""
    return memory.total() // 2


def keep_watch(log: Path, limit: int) -> None:
    """Kill this process when its parent dies, even in the middle of a call, and when it has more than ``limit`` bytes
    of resident memory: a run that was killed leaves nothing behind that keeps cores and memory busy. The log stays
    small.
    """
    _prefer_for_oom_kill()
    parent = parent_process()
    if parent is not None:
        _end_with(parent.sentinel)
    sentinel = [] if parent is None else [parent.sentinel]
    threading.Thread(target=_watch, args=(sentinel, log, limit), name="watchdog", daemon=True).start()


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(psutil.Process().memory_info().rss)


def return_freed_memory() -> None:
    """Gives back to the system what this process has freed; glibc keeps small pieces for later."""
    with suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def outgrown(limit: int) -> bool:
    """Whether this process should make no further call: it leaks memory, threads or files."""
    me = psutil.Process()
    with me.oneshot():
        return me.memory_info().rss > limit // 2 or me.num_threads() > _MAX_THREADS or _open_files() > _MAX_FILES


def _open_files() -> int:
    """At least as many as this are open, or were: the lowest free number tells it without listing them."""
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
    """Where the whole machine runs out of memory, Linux ends this process and not the run."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with(sentinel: int) -> None:
    """Native code that holds the interpreter keeps the watchdog waiting. The sentinel is a pipe that only the parent
    can write to; when it closes, the kernel sends the signal by itself. What this process has started ends with it.
    """
    if sys.platform == "linux":
        os.setsid()
        signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)


def _shorten(log: Path) -> None:
    """Leaves the beginning and the end of what was printed, once it is long: a disk is soon full."""
    with suppress(OSError):
        size = log.stat().st_size
        if size <= MAX_LOG_BYTES:
            return
        # Those who print go on behind what is left, since they append.
        file = os.open(log, os.O_RDWR | os.O_APPEND)
        try:
            os.lseek(file, size - LAST, os.SEEK_SET)
            end = os.read(file, LAST)
            os.ftruncate(file, FIRST)
            os.write(file, b"\n[LogitLab left out what was printed here]\n" + end)
        finally:
            os.close(file)
