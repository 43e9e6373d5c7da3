"""One implementation's own time and memory, in this process: a child of `prices`."""

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
M_MMAP_THRESHOLD = -3  # glibc's number of that option


def taken(framework: str, implementation: str, mode: str) -> dict[str, float]:
    """The middle time, and the most memory of a call above what the process held before it."""
    large = _batch(ROWS)
    _made(framework, implementation, large, mode)  # compiles, where the mode does
    times = [_made(framework, implementation, large, mode) for _ in range(REPEATED)]
    _return_what_is_freed()
    before = _forget_peak()
    _made(framework, implementation, large, mode)
    return {"ms": round(statistics.median(times) * 1e3, 1), "peak MiB": round((_status("VmHWM") - before) / 2**10, 1)}


def _batch(rows: int) -> Batch:
    rng = np.random.default_rng(rows)
    x = rng.normal(0, 10, (rows, CLASSES)).astype(np.float32)
    return Batch(x, rng.integers(0, CLASSES, rows))


def _made(framework: str, implementation: str, batch: Batch, mode: str) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    outcome = call(Evaluation(framework, implementation, batch, mode=mode))
    if outcome.status != "ok":
        raise SystemExit(f"{outcome.status}: {outcome.detail}")
    return time.perf_counter() - start


def _return_what_is_freed() -> None:
    """Has glibc give arrays back to the system when they are freed, so that a peak is this call's own."""
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**16)
        libc.malloc_trim(0)


def _forget_peak() -> float:
    """Has Linux count the peak from now on, and returns what is resident now, in KiB; NaN on other systems."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> float:
    """A line of what Linux tells of this process, in KiB."""
    with contextlib.suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return float(found[1]) if found else math.nan
    return math.nan


if __name__ == "__main__":
    print(json.dumps(taken(*sys.argv[1:])))
