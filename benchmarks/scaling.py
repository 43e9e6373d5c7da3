"""Measure measurements per second and peak memory for larger and larger files of logits."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from usage import Usage, of_command

from logitlab.storage.store import Run

ROWS = (10_000, 100_000, 1_000_000)
CLASSES = 10
IMPLEMENTATION = "numpy/scipy.special.log_softmax"


def table(rows: tuple[int, ...] = ROWS) -> pd.DataFrame:
    """Return a line for each number of rows.

    From the second line, "microseconds for one more" is the time of each further measurement. From the third line,
    "over the line before" is its growth: 1 if time is linear.
    """
    found = pd.DataFrame([_line(n, *_measure(n)) for n in rows])
    more = found["processor s"].diff() / found["measurements"].diff()
    found["microseconds for one more"] = (1e6 * more).round(1)
    found["over the line before"] = (more / more.shift()).round(2)
    return found


def _measure(rows: int) -> tuple[Usage, int]:
    rng = np.random.default_rng(rows)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "logits.npz", Path(folder) / "run"
        x = rng.normal(0, 10, (rows, CLASSES)).astype(np.float32)
        np.savez(file, logits=x, targets=rng.integers(0, CLASSES, rows), allow_pickle=False)
        used = of_command(["run", "--logits", str(file), "--implementation", IMPLEMENTATION, "--out", str(out)])
        return used, Run(out).lines()


def _line(rows: int, used: Usage, lines: int) -> dict[str, object]:
    return {
        "rows": rows,
        "measurements": lines,
        "wall s": round(used.wall, 1),
        "processor s": round(used.own + used.children, 1),
        "measurements/s": round(lines / used.wall),
        "peak MiB, main process": round(used.own_peak / 2**20),
        "peak MiB, largest worker": round(used.children_peak / 2**20),
    }
