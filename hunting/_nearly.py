"""The answer to within a thousandth of any bound, for many rows at once: what a search climbs by.

What it finds is measured by the oracle, at some hundred times the cost.

The formula is the oracle's, in float64 where the dtype is narrower, and in NumPy's ``longdouble`` for float64. Where
that is no wider than float64, as on Windows and most ARM, the oracle itself answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import Format
from ..oracle import Exact, Reference, reference

Array = NDArray[Any]

EXTRA_BITS = 11  # of x86's extended precision


def nearly(logits: Array, targets: Array, fmt: Format) -> Reference:
    """Loss, probabilities and gradient of rows (B, C) that are finite or ``-inf``, and of targets (B,)."""
    wide = next((d for d in (np.float64, np.longdouble) if np.finfo(d).nmant + 1 >= fmt.precision + EXTRA_BITS), None)
    if wide is None:
        return reference(logits, targets, keep=False)
    x, rows = logits.astype(wide), np.arange(len(logits))
    defined = (x > -np.inf).any(axis=1)
    x[~defined] = 0
    top = x.argmax(axis=1)
    m, at_target = x[rows, top], x[rows, targets]
    with np.errstate(under="ignore", over="ignore"):
        e = np.exp(x - m[:, None])
        e[rows, top] = 0
        others = e.sum(axis=1)
        e[rows, top] = 1
        total = 1 + others
        loss = np.log1p(others) + (m - at_target)
        p = e / total[:, None]
        gradient = p.copy()
        gradient[rows, targets] = -np.where(targets == top, others, total - e[rows, targets]) / total
        loss, p, gradient = _known(loss, defined), _known(p, defined), _known(gradient, defined)
    ones = np.ones(len(logits))
    return Reference(loss, p, gradient, np.full(len(logits), np.nan), defined, ones, np.array(1.0))


def _known(values: Array, defined: NDArray[np.bool_]) -> Exact:
    hi = np.asarray(values.astype(np.float64))
    lo = np.where(np.isfinite(hi), values - np.where(np.isfinite(hi), hi, 0), 0).astype(np.float64)
    hi[~defined] = np.nan
    return Exact(hi, lo)
