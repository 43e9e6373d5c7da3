"""Sums of many terms, rounded to nearest after each addition, in few steps of NumPy for each term."""

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ._rounding import Float64, round_exact

# NumPy adds in these formats itself, one term after the other.
_ADDED = {"float16": np.float16, "float32": np.float32, "float64": np.float64}
_MANTISSA = 52  # bits of float64
_EXPONENT = np.int64(0x7FF0000000000000)


def add_in_order(terms: Float64, fmt: Format) -> tuple[Float64, NDArray[np.bool_]]:
    """Return the sums (R,) of terms (R, N), each addition rounded to nearest, and where that needs the full rules.

    The full rules are those of a format that flushes subnormal numbers, and of sums that saturate.

    Args:
        terms: numbers of the format.
        fmt: the format.
    """
    rows = len(terms)
    if fmt.name in _ADDED:
        sums = np.add.accumulate(terms.astype(_ADDED[fmt.name]), axis=1)[:, -1].astype(np.float64)
        return sums, np.zeros(rows, bool)
    if not fmt.subnormals:
        return np.zeros(rows), np.ones(rows, bool)
    partial = _partial_sums(terms, fmt)
    beyond = ~(np.abs(partial) <= fmt.largest)  # also NaN
    left: NDArray[np.bool_] = np.logical_or.reduce(beyond, axis=0)
    sums = partial[-1].copy()
    for row in np.flatnonzero(left):
        first = int(beyond[:, row].argmax())
        before = partial[first - 1, row] if first else 0.0
        found = round_exact(np.array([before + terms[row, first]]), fmt)[0]
        if not np.isfinite(found):
            # After this only infinities and NaN change it.
            rest = terms[row, first + 1 :]
            sums[row], left[row] = found + rest[~np.isfinite(rest)].sum(), False
    return sums, left


def _partial_sums(terms: Float64, fmt: Format) -> Float64:
    """Return the sums (N, R) of the first terms of each row, as if the format's exponents had no upper limit."""
    partial = np.ascontiguousarray(terms.T)
    partial = partial.copy() if np.shares_memory(partial, terms) else partial
    exponent = np.empty(partial.shape[1:], np.int64)
    spacing = exponent.view(np.float64)
    # This multiple of the power of two below a number has the format's spacing as its last bit: adding it rounds.
    shifter, smallest = 1.5 * 2.0 ** (_MANTISSA - fmt.precision + 1), fmt.smallest_normal
    for i in range(1, len(partial)):
        total = partial[i]
        np.add(partial[i - 1], total, out=total)
        np.bitwise_and(total.view(np.int64), _EXPONENT, out=exponent)
        np.maximum(spacing, smallest, out=spacing)
        np.multiply(spacing, shifter, out=spacing)
        np.add(total, spacing, out=total)
        np.subtract(total, spacing, out=total)
    return partial
