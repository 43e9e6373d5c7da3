"""Measure the time and memory of one implementation in this process; `prices` starts it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import re
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from logitlab.execution.worker import Evaluation, call
from logitlab.frameworks import Batch

ROWS, CLASSES = 128, 16_384
REPEATED = 7
M_MMAP_THRESHOLD = -3  # glibc's number of this option of mallopt


def measure(framework: str, implementation: str, mode: str) -> dict[str, float]:
    """Return the median time of a call, and its peak memory above the process's memory before it."""
    large = _batch(ROWS)
    _call(framework, implementation, large, mode)  # the first call may compile
    times = [_call(framework, implementation, large, mode) for _ in range(REPEATED)]
    _return_freed_memory()
    before = _forget_peak()
    _call(framework, implementation, large, mode)
    return {"ms": round(statistics.median(times) * 1e3, 1), "peak MiB": round((_status("VmHWM") - before) / 2**10, 1)}


def _batch(rows: int) -> Batch:
    rng = np.random.default_rng(rows)
    x = rng.normal(0, 10, (rows, CLASSES)).astype(np.float32)
    return Batch(x, rng.integers(0, CLASSES, rows))


def _call(framework: str, implementation: str, batch: Batch, mode: str) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    outcome = call(Evaluation(framework, implementation, batch, mode=mode))
    if outcome.status != "ok":
        raise SystemExit(f"{outcome.status}: {outcome.detail}")
    return time.perf_counter() - start


def _return_freed_memory() -> None:
    """Make glibc return freed arrays to the system, so that the peak is that of one call."""
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**16)
        libc.malloc_trim(0)


def _forget_peak() -> float:
    """Reset Linux's peak of this process; return its resident memory in KiB, or NaN on other systems."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> float:
    """Return a value in KiB from Linux's status of this process, or NaN on other systems."""
    with contextlib.suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return float(found[1]) if found else math.nan
    return math.nan


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
