"""Measure exact references per second, against loops over mpmath (60 digits) and gmpy2 (MPFR, as many bits).

Each computes the loss, the probabilities and the gradient of a row of float32 logits. LogitLab's balls are proven to
106 bits, and its fixed-point arithmetic gives the same bits for many rows. Its quadruple precision is accurate to 100
bits. The loops have no proven accuracy. mpmath is measured on gmpy2 and, as "mpmath alone", on Python's integers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gmpy2
import mpmath
import numpy as np
import pandas as pd

from logitlab.oracle import bulk, reference

WIDTHS = (10, 1_000, 131_072)
DIGITS = 60
ENOUGH = 2.0  # seconds of each loop
GOAL = 30


def table() -> pd.DataFrame:
    """Return a line for each number of classes."""
    return pd.DataFrame([_line(classes) for classes in WIDTHS])


def _line(classes: int) -> dict[str, object]:
    rng = np.random.default_rng(classes)
    rows = max(1, min(1000, 100_000 // classes))
    x = rng.normal(0, 10, (rows, classes)).astype(np.float32)
    t = rng.integers(0, classes, rows)
    balls = _rate(lambda: reference(x, t, keep=False), rows)
    quad = _rate(lambda: bulk(x, t, first_row=1), rows)  # row 0 belongs to the sample that balls certify
    on_gmpy2 = _rate(lambda: _mpmath(x[0], int(t[0])), 1)
    alone = _mpmath_alone(classes)
    by_gmpy2 = _rate(lambda: _gmpy2(x[0], int(t[0])), 1)
    return {
        "classes": classes,
        "balls/s": _short(balls),
        "quad/s": _short(quad),
        "mpmath/s": _short(on_gmpy2),
        "mpmath alone/s": _short(alone),
        "gmpy2/s": _short(by_gmpy2),
        "balls over gmpy2": round(balls / by_gmpy2, 1),
        "balls over mpmath": round(balls / on_gmpy2, 1),
        "quad over mpmath": round(quad / on_gmpy2, 1),
        "quad over mpmath alone": round(quad / alone, 1),
        "goal over mpmath": GOAL if classes >= 1000 else "",
    }


def _mpmath_alone(classes: int) -> float:
    """Return the rate of mpmath without gmpy2, in a new process, since mpmath looks for gmpy2 on import."""
    program = (
        f"import numpy as np, oracle_speed as o; x = np.random.default_rng(0).normal(0, 10, {classes}); "
        "print(o._rate(lambda: o._mpmath(x.astype(np.float32), 0), 1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"MPMATH_NOGMPY": "1"}, cwd=Path(__file__).parent, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout)


def _rate(work: Callable[[], Any], rows: int) -> float:
    """Return the best rate of several repetitions, in rows per second of processor time.

    Other work on the machine hardly affects processor time.
    """
    best, began = 0.0, time.perf_counter()
    while time.perf_counter() - began < ENOUGH:
        start = time.process_time()
        work()
        best = max(best, rows / (time.process_time() - start))
    return best


def _mpmath(x: np.ndarray[Any, Any], target: int) -> tuple[Any, list[Any], list[Any]]:
    with mpmath.workdps(DIGITS):
        logits = [mpmath.mpf(float(v)) for v in x]
        powers = [mpmath.exp(v) for v in logits]
        total = mpmath.fsum(powers)
        p = [power / total for power in powers]
        return mpmath.log(total) - logits[target], p, [v - (k == target) for k, v in enumerate(p)]


def _gmpy2(x: np.ndarray[Any, Any], target: int) -> tuple[Any, list[Any], list[Any]]:
    with gmpy2.context(gmpy2.get_context(), precision=round(DIGITS * 3.33)):
        logits = [gmpy2.mpfr(float(v)) for v in x]
        powers = [gmpy2.exp(v) for v in logits]
        total = gmpy2.fsum(powers)
        p = [power / total for power in powers]
        return gmpy2.log(total) - logits[target], p, [v - (k == target) for k, v in enumerate(p)]


def _short(rate: float) -> float:
    return float(f"{rate:.3g}")
