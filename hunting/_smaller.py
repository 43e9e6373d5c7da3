"""A found row made smaller and rounder, as far as it stays about as bad."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..formats import Format, round_to
from ..shrinking import roughness, rounder
from ._mutations import Rng, fitted, held
from ._population import WIDTHS, rows_of

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]
Scores = Callable[[Float64, Index], Float64]

ROUNDS = 40  # of making a row rounder, one number or kind of number each
KEPT = 0.5  # of what a row is worse by


def floor(score: float, base: float) -> float:
    """What a row has to score to be as bad as before: the same grade, and half of what it was worse by."""
    return max(math.floor(score), base + KEPT * (score - base))


def smaller(x: Float64, target: int, least: float, scores: Scores, rng: Rng, fmt: Format) -> tuple[Float64, int]:
    """A row (C,) with fewer classes and rounder numbers that still scores ``least``.

    Args:
        x: the row as the dtype holds it.
        target: its class.
        least: the score to keep.
        scores: of rows (k, C) and targets (k,), in as few calls as may be.
        rng: chooses the classes to keep.
        fmt: the dtype.
    """
    for width in (w for w in WIDTHS if w < x.size):
        tried = [fitted(rng, x, target, width) for _ in range(rows_of(width))]
        rows, targets = np.stack([row for row, _ in tried]), np.array([t for _, t in tried], np.int64)
        good = np.flatnonzero(scores(rows, targets) >= least)
        if good.size:
            x, target = rows[good[0]], int(targets[good[0]])
            break
    for _ in range(ROUNDS):
        now = roughness(x)
        tried_rows = [row for row in (held(v[None], fmt)[0] for v in rounder(x)) if roughness(row) < now]
        if not tried_rows:
            break
        rows = np.stack(sorted(tried_rows, key=roughness)[: rows_of(x.size)])
        good = np.flatnonzero(scores(rows, np.full(len(rows), target)) >= least)
        if not good.size:
            break
        x = rows[good[0]]
    return x, target


def shortest(x: Float64, fmt: Format) -> Float64:
    """Numbers of few decimals that round to these numbers of the format."""
    found = x.copy()
    left = np.isfinite(x)
    for digits in range(1, 18):
        if not left.any():
            break
        short = np.array([float(f"{v:.{digits}g}") for v in x[left]])
        same = round_to(short, fmt) == x[left]
        places = np.flatnonzero(left)[same]
        found[places] = short[same]
        left[places] = False
    return found
