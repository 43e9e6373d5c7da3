"""The reduction of a found row to fewer classes and rounder numbers that are about as bad."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.literals import shortest_decimals
from ...core.rounding import round_to
from .._shrinking import roughness, rounder
from ._mutations import Rng, fitted, held
from ._population import WIDTHS, rows_of

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]
Scores = Callable[[Float64, Index], Float64]

ROUNDS = 40  # of making a row rounder, one number or kind of number each
KEPT = 0.5  # of what a row is worse by


def least_score(score: float, base: float) -> float:
    """Return the score to keep: that of the same grade, with half of the row's excess over the floor."""
    return max(math.floor(score), base + KEPT * (score - base))


def minimize(x: Float64, target: int, least: float, scores: Scores, rng: Rng, fmt: Format) -> tuple[Float64, int]:
    """Return a row (C,) with fewer classes and rounder numbers that still scores ``least``, and its target.

    Args:
        x: the row as the dtype holds it.
        target: its class.
        least: the score to keep.
        scores: returns the scores of rows (k, C) with targets (k,).
        rng: chooses the classes to keep.
        fmt: the dtype.
    """
    x, target = _narrower(x, target, least, scores, rng)
    return _rounder(x, target, least, scores, fmt), target


def _narrower(x: Float64, target: int, least: float, scores: Scores, rng: Rng) -> tuple[Float64, int]:
    for width in (w for w in WIDTHS if w < x.size):
        tried = [fitted(rng, x, target, width) for _ in range(rows_of(width))]
        rows, targets = np.stack([row for row, _ in tried]), np.array([t for _, t in tried], np.int64)
        good = np.flatnonzero(scores(rows, targets) >= least)
        if good.size:
            return rows[good[0]], int(targets[good[0]])
    return x, target


def _rounder(x: Float64, target: int, least: float, scores: Scores, fmt: Format) -> Float64:
    now = roughness(x)
    for _ in range(ROUNDS):
        rows = held(np.stack(list(rounder(x))), fmt)
        tried = sorted((rough, r) for r, rough in enumerate(map(roughness, rows)) if rough < now)[: rows_of(x.size)]
        if not tried:
            break
        rows = rows[[r for _, r in tried]]
        good = np.flatnonzero(scores(rows, np.full(len(rows), target)) >= least)
        if not good.size:
            break
        now, x = tried[good[0]][0], rows[good[0]]
    return x


def shortest(x: Float64, fmt: Format) -> Float64:
    """Return the shortest decimal numbers that round to these numbers of the format."""
    return shortest_decimals(x, lambda tried, wanted: round_to(tried, fmt) == wanted)
