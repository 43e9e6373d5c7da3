"""The distance of two results in ulp, row by row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Float64 = NDArray[np.float64]


def ulps_apart(one: Array, other: Array) -> Float64:
    """Return how far apart the rows of two results are: the largest distance of two entries, in steps of their dtype.

    A step leads to the adjacent number of the dtype, so that equal bits have distance 0. -0 and +0 are one step apart.
    Two NaN count as equal. NaN and a number, an infinity and another number, and results of two dtypes are infinitely
    far apart.

    Args:
        one: (B,) or (B, C).
        other: of the same shape.

    Returns:
        (B,), float64.
    """
    rows = len(one)
    if one.dtype != other.dtype:
        return np.full(rows, np.inf)
    unsigned = np.dtype(f"u{one.dtype.itemsize}")
    first, second = (np.ascontiguousarray(a).reshape(rows, -1) for a in (one, other))
    differ = first.view(unsigned) != second.view(unsigned)
    found = np.zeros(rows)
    places = np.flatnonzero(differ.any(axis=1))
    if not places.size:  # as nearly always
        return found
    a, b = first[places], second[places]
    here = differ[places] & ~(np.isnan(a) & np.isnan(b))
    low, high = np.sort(np.stack([_ordered(a), _ordered(b)]), axis=0)
    steps = (high - low).astype(np.float64)
    steps[~(np.isfinite(a) & np.isfinite(b))] = np.inf
    found[places] = np.where(here, steps, 0.0).max(axis=1)
    return found


def _ordered(values: Array) -> Array:
    """Return unsigned integers in the order of the numbers."""
    bits = values.view(f"u{values.dtype.itemsize}")
    # The bits of -1 and 1 differ in the sign alone. A number of six bits is stored in eight.
    sign = (-np.ones((), values.dtype)).view(bits.dtype) ^ np.ones((), values.dtype).view(bits.dtype)
    ordered: Array = np.where(bits & sign, ~bits & (sign | (sign - 1)), bits | sign)
    return ordered
