"""An approximate reference for many rows, accurate to a thousandth of any bound, which guides the search.

The oracle, which takes about a hundred times as long, measures the findings.

The formula is the oracle's, in float64 for narrower dtypes and in NumPy's ``longdouble`` for float64. If ``longdouble``
is not wider than float64, as on Windows and most ARM, the oracle itself is used.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...oracle import Exact, Reference, reference

Array = NDArray[Any]

EXTRA_BITS = 11  # of x86's extended precision


def approximate_reference(logits: Array, targets: Array, fmt: Format) -> Reference:
    """Return loss, probabilities and gradient of logits (B, C) and targets (B,); condition numbers are NaN.

    Logits must be finite or ``-inf``, with at least one finite logit in each row.
    """
    wide: Any = np.float64 if fmt.precision + EXTRA_BITS <= 53 else np.longdouble
    if np.finfo(wide).nmant + 1 < fmt.precision + EXTRA_BITS:
        return reference(logits, targets, keep=False)
    x: Array = logits.astype(wide)
    rows = np.arange(len(logits))
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
        known = _as_exact(loss), _as_exact(p), _as_exact(gradient)
    condition, defined, mass = np.full(len(x), np.nan), np.ones(len(x), bool), np.ones(len(x))
    return Reference(*known, condition, defined, mass, np.array(1.0), targets.astype(np.int64))


def _as_exact(values: Array) -> Exact:
    hi: NDArray[np.float64] = values.astype(np.float64)
    finite = np.isfinite(hi)
    lo = np.where(finite, values - np.where(finite, hi, 0), 0).astype(np.float64)
    return Exact(hi, lo)
