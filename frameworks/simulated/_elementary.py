"""Elementary operations as exact values: a float64 and what it lacks.

The operands are numbers of formats with at most 24 bits, so products are exact in float64. The transformation TwoSum
gives the error of a sum. Of a quotient only the sign of the remainder is computed. Exponentials and logarithms are
those of NumPy in float64. Near a number of the format, or near the middle of two, their last bits would decide the
rounding. There the balls of python-flint decide.
"""

from collections.abc import Callable

import numpy as np
from flint import arb, ctx
from numpy.typing import NDArray

from ...core.formats import Format
from ._rounding import is_near_boundary

Float64 = NDArray[np.float64]
Exact = tuple[Float64, Float64 | None]

# NumPy's exp, log and log1p of float64 err by less than this, in units in the last place.
DOUBT = 8
# Below this exp(x) is 1 and log1p(x) is x, up to less than is seen in 24 bits and 24 random ones.
TINY = 2.0**-49
BITS = 200  # of the balls
_SMALLEST, _LARGEST = 5e-324, np.finfo(np.float64).max
# The upper 26 bits of a significand; the product with 24 bits is exact.
_UPPER = np.int64(-(2**27))


def add(a: Float64, b: Float64) -> Exact:
    """Return ``a + b``."""
    hi = a + b
    part = hi - a
    return hi, _known((a - (hi - part)) + (b - part))


def multiply(a: Float64, b: Float64) -> Exact:
    """Return ``a * b``, which lacks nothing."""
    return a * b, None


def divide(a: Float64, b: Float64) -> Exact:
    """Return ``a / b`` and the sign of what it lacks."""
    hi = np.asarray(a / b)
    hi = _within_range(hi, np.isfinite(a) & np.isfinite(b) & (b != 0))
    upper = (hi.view(np.int64) & _UPPER).view(np.float64)
    remainder = (a - upper * b) - (hi - upper) * b
    return hi, _known(np.sign(remainder) * np.sign(b))


def exp(x: Float64, fmt: Format) -> Exact:
    """Return ``exp(x)``; of a finite number it is neither 0 nor infinite."""
    finite = np.isfinite(x)
    hi = np.exp(x)
    hi = np.where(finite, np.clip(hi, _SMALLEST, _LARGEST), hi)
    tiny = np.abs(x) < TINY
    hi, lacking = np.where(tiny, 1.0, hi), np.where(tiny, x, 0.0)
    # Beyond the formats' range no digit counts.
    return _decided(arb.exp, x, hi, lacking, fmt, finite & ~tiny & (np.abs(x) < 700))


def log(x: Float64, fmt: Format) -> Exact:
    """Return ``log(x)``."""
    hi = np.log(x)
    return _decided(arb.log, x, hi, np.zeros_like(hi), fmt, np.isfinite(hi) & (x != 1))


def log1p(x: Float64, fmt: Format) -> Exact:
    """Return ``log1p(x)``."""
    hi = np.log1p(x)
    tiny = np.abs(x) < TINY
    hi, lacking = np.where(tiny, x, hi), np.where(tiny & (x != 0), -1.0, 0.0)
    return _decided(arb.log1p, x, hi, lacking, fmt, np.isfinite(hi) & ~tiny)


def _decided(
    function: Callable[[arb], arb], x: Float64, hi: Float64, lacking: Float64, fmt: Format, asked: NDArray[np.bool_]
) -> Exact:
    """Return the value with the doubtful entries computed in balls: rounded to float64, and the sign of the rest."""
    doubtful = asked & is_near_boundary(hi, fmt, DOUBT)
    if doubtful.any():
        before, ctx.prec = ctx.prec, BITS
        try:
            values = [function(arb(float(v))) for v in x[doubtful]]
            rounded = [float(value.mid()) for value in values]
            signs = [np.sign(float((v - r).mid())) for v, r in zip(values, rounded, strict=True)]
        finally:
            ctx.prec = before
        hi[doubtful], lacking[doubtful] = rounded, signs
    return hi, lacking


def _known(lacking: Float64) -> Float64:
    """Return what a result lacks, 0 where it is not finite."""
    return np.nan_to_num(lacking, nan=0.0, posinf=0.0, neginf=0.0)


def _within_range(hi: Float64, finite: NDArray[np.bool_]) -> Float64:
    # A finite quotient beyond float64 is rounded as a finite number beyond the format.
    return np.where(finite & np.isinf(hi), np.copysign(_LARGEST, hi), hi)
