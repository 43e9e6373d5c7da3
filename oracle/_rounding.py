"""Round fixed-point numbers to two float64, ``hi`` and ``lo``, and find where their error bound decides both."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._fixed_point import FRACTION_BITS, Digits, Float64, Int64

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# Below this power of two a number's ``lo`` may be one of float64's subnormal numbers.
_TINY = -860
_ABOUT = 2.0**-51  # more than the relative error of a rounding


@dataclass(frozen=True)
class Rounded:
    """Values as two float64, and which are decided. A value is ``(a + b) 2^exponent`` with a from 1/2 to 2."""

    hi: Float64
    lo: Float64
    decided: Mask
    a: Float64
    b: Float64
    exponent: Int64


def rounded(value: Digits, exponent: Int64, tolerance: float | Float64) -> Rounded:
    """Round numbers from 1/2 to 2, times ``2^exponent``, to two float64, decided up to a relative tolerance.

    Digits 0 and 1 are an integer of up to 61 bits. It is rounded to 53 bits, to nearest. The lost part is up to 2^7;
    with digit 2 it has 38 bits and is a float. ``lo`` is its sum with digits 3 and 4, in units of 2^-150, rounded.
    Digits 3 and 4 as a float are off by 2^6, which the tolerance of 2^11 units or more includes.
    """
    a0, a1, a2, a3, a4 = value
    first = (a0 << 30) + a1
    nearest = first.astype(np.float64).astype(np.int64)
    lost = first - nearest
    # A number half way between two floats is nearer to the upper one, by the digits that follow.
    half = np.where(first < 2**60, 64, 128)
    up = (lost == half) * (2 * half)
    nearest += up
    lost -= up
    a, above, below = nearest.astype(np.float64), ((lost << 30) + a2) * 2.0**60, (a3 << 30) + a4
    off = 2.0 * tolerance * 2.0**FRACTION_BITS * 1.25
    b, lower, upper = above + below, above + (below - off), above + (below + off)
    decided = (lower == upper) & (np.abs(b) < half * 2.0**90 - 2.0**45) & (first >= 2**59) & (first < 2**61)
    hi, lo = times_power(a, exponent - 60), times_power(b, exponent - FRACTION_BITS)
    tiny = np.nonzero(exponent < _TINY)
    if tiny[0].size:
        _correct_tiny(hi, lo, decided, a, b, exponent, off, tiny)
    return Rounded(hi, lo, decided, a * 2.0**-60, b * 2.0**-FRACTION_BITS, exponent)


def _correct_tiny(
    hi: Float64,
    lo: Float64,
    decided: Mask,
    a: Float64,
    b: Float64,
    exponent: Int64,
    off: float | Float64,
    tiny: tuple[Array, ...],
) -> None:
    """Correct in place the values with a subnormal ``hi`` or ``lo``: these were rounded a second time.

    The second rounding is right where it rounds both ends of an interval around the first to the same number.
    """
    a, b, exponent, high, low = a[tiny], b[tiny], exponent[tiny], hi[tiny], lo[tiny]
    around = (off if isinstance(off, float) else off[tiny]) + np.abs(b) * _ABOUT
    sure = times_power(b - around, exponent - FRACTION_BITS) == times_power(b + around, exponent - FRACTION_BITS)
    subnormal = high <= np.finfo(np.float64).smallest_normal
    whole = times_power(a * (1 - _ABOUT), exponent - 60) == times_power(a * (1 + _ABOUT), exponent - 60)
    # Below a subnormal ``hi`` less than half of the smallest number remains: a zero with its sign.
    left = a - times_power(high, 60 - exponent)
    left = np.where(left == 0, b, left)
    lo[tiny] = np.where(subnormal, np.copysign(0.0, left), low)
    once = np.abs(low) > np.finfo(np.float64).smallest_normal  # the second rounding changed nothing
    decided[tiny] = np.where(subnormal, whole, decided[tiny] & (once | sure))


def times_power(values: Float64, exponent: Int64) -> Float64:
    """Return ``values 2^exponent``, rounded once, for values below 2^100. NumPy's ldexp is ten times slower."""
    first = np.clip(exponent, -900, 900)
    second = np.clip(exponent - first, -1000, 900)
    scaled: Float64 = values * _power(first)
    return scaled * _power(second) if second.any() else scaled


def _power(exponent: Int64) -> Float64:
    """Return ``2^exponent`` for exponents of normal numbers, from its bits."""
    return ((exponent + 1023) << 52).view(np.float64)


def two_product(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """Return ``a b`` as the exact sum of two floats (T. J. Dekker, Numer. Math. 18, 1971)."""
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


def _halves(a: Float64) -> tuple[Float64, Float64]:
    c = a * (2.0**27 + 1)
    high = c - (c - a)
    return high, a - high
