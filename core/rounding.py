"""Rounding to a format: the spacing of its numbers, rounding to nearest even, overflow and underflow.

The functions take an *exact* value as an unevaluated sum of two float64, ``hi + lo``, with ``hi`` the sum rounded to
nearest. So they round correctly even if ``hi`` alone lies on a rounding boundary.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .formats import FORMATS, Format

Array = NDArray[Any]
Float64 = NDArray[np.float64]


def _spacing_exponent(hi: Float64, lo: Float64, fmt: Format) -> NDArray[np.int64]:
    """Return the exponent ``q`` of the spacing ``2^q`` of ``fmt`` at each finite exact value ``hi + lo``."""
    fraction, exponent = np.frexp(hi)
    # A power of two approached from below lies in the binade under it, where the spacing is half.
    below = (np.abs(fraction) == 0.5) & (lo * np.sign(hi) < 0)
    floor_log2 = exponent.astype(np.int64) - 1 - below
    floor_log2 = np.where(hi == 0, fmt.emin, floor_log2)
    spacing: NDArray[np.int64] = np.clip(floor_log2, fmt.emin, fmt.emax) - (fmt.precision - 1)
    return spacing


def ulp(hi: ArrayLike, fmt: Format, lo: ArrayLike = 0.0) -> Float64:
    """Return the spacing of the format's numbers in the binade of the exact value ``hi + lo``, as float64.

    Below the smallest normal number this is the spacing of the subnormals, above the largest finite number the spacing
    of the last binade. NaN and infinity give NaN.
    """
    hi_, lo_ = _pair(hi, lo)
    finite = np.isfinite(hi_)
    exponent = _spacing_exponent(np.where(finite, hi_, 1.0), np.where(finite, lo_, 0.0), fmt)
    return np.where(finite, np.ldexp(1.0, exponent), np.nan)


def round_to(hi: ArrayLike, fmt: Format, lo: ArrayLike = 0.0) -> Float64:
    """Round the exact value ``hi + lo`` once to the format, to nearest with ties to even.

    The result is float64, which holds the numbers of all formats. A number too large becomes what the format's
    `Overflow` says, as does an infinity that the format lacks. NaN stays NaN in any format.

    Two roundings would be wrong: through float32, a value just above the midpoint of two float16 numbers can become the
    midpoint, and then the wrong neighbour.
    """
    hi_, lo_ = _pair(hi, lo)
    if fmt.name == "float64":
        return np.array(hi_)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if fmt.name not in FORMATS:
            return _in_format(hi_, lo_, fmt)
        rounded, doubtful = _cast(hi_, fmt)
        if doubtful.any():
            rounded = np.asarray(rounded)
            rounded[doubtful] = _by_spacing(hi_[doubtful], lo_[doubtful], fmt)
    return rounded


def _pair(hi: ArrayLike, lo: ArrayLike) -> tuple[Float64, Float64]:
    """Return both as arrays of one shape."""
    hi_, lo_ = np.asarray(hi, np.float64), np.asarray(lo, np.float64)
    # Broadcasting takes a fifth of the time of rounding a few numbers.
    if hi_.shape == lo_.shape:
        return hi_, lo_
    if lo_.ndim == 0 and lo_ == 0:  # the default
        return hi_, np.zeros(hi_.shape)
    first, second = np.broadcast_arrays(hi_, lo_)
    return first, second


def _cast(hi: Float64, fmt: Format) -> tuple[Float64, NDArray[np.bool_]]:
    """Return ``hi`` rounded by the dtype's conversion, and where ``hi + lo`` may round otherwise: ties, overflow."""
    if fmt.name == "bfloat16":
        # The conversion rounds twice, through float32; that matters if float32 is midway between two bfloat16.
        single = np.asarray(hi.astype(np.float32))
        midway = single.view(np.uint32) & 0xFFFF == 0x8000
        rounded = np.asarray(single.astype(fmt.dtype).astype(np.float64))
    else:
        rounded = np.asarray(hi.astype(fmt.dtype).astype(np.float64))
        other = hi + (hi - rounded)
        midway = (other != rounded) & (other.astype(fmt.dtype) == other)
    return rounded, midway | (np.isinf(rounded) & np.isfinite(hi))


def _by_spacing(hi: Float64, lo: Float64, fmt: Format) -> Float64:
    """Round finite ``hi + lo`` in units of the format's spacing."""
    # Magnitudes: the distance of a negative number from the whole number below it may not be exact.
    size, low = np.abs(hi), np.where(np.signbit(hi), -lo, lo)
    exponent = _spacing_exponent(size, low, fmt)
    # size in units of the spacing: scaling by a power of two is exact.
    scaled = np.ldexp(np.ldexp(size, -(exponent // 2)), -(exponent - exponent // 2))
    whole = np.floor(scaled)
    past_half = (scaled - whole) - 0.5
    # If size is a number of the format, low is too small to move it by half a spacing.
    tie = (past_half == 0) & (low == 0)
    up = (past_half > 0) | ((past_half == 0) & (low > 0)) | (tie & (whole % 2 != 0))
    rounded = np.ldexp(np.ldexp(whole + up, exponent // 2), exponent - exponent // 2)
    if not fmt.subnormals:
        rounded = np.where(rounded < fmt.smallest_normal, 0.0, rounded)
    return np.copysign(np.where(rounded > fmt.largest, fmt.overflow_value, rounded), hi)


def _in_format(hi: Float64, lo: Float64, fmt: Format) -> Float64:
    """Round ``hi + lo``, which may be infinite or NaN, to a format that a conversion of NumPy does not round to."""
    finite = np.isfinite(hi)
    rounded = _by_spacing(np.where(finite, hi, 0.0), np.where(finite, lo, 0.0), fmt)
    infinity = np.inf if fmt.infinite else fmt.overflow_value
    return np.where(finite, rounded, np.where(np.isnan(hi), np.nan, np.copysign(infinity, hi)))


def rounds_to_zero(hi: Float64, fmt: Format, lo: Float64) -> NDArray[np.bool_]:
    """Return where the exact value ``hi + lo`` rounds to 0 in the format, as `round_to` rounds it."""
    if not fmt.subnormals:
        # Midway between the largest number that is flushed and the smallest normal one, the even one is the latter.
        return _within(hi, lo, fmt.smallest_normal - fmt.smallest_subnormal / 2, also_at=False)
    # Midway between 0 and the smallest subnormal, the even one is 0.
    return _within(hi, lo, fmt.smallest_subnormal / 2, also_at=True)


def overflows(hi: Float64, fmt: Format, lo: Float64) -> NDArray[np.bool_]:
    """Return where the exact value ``hi + lo``, or infinity, is rounded as too large, as `round_to` rounds it."""
    # Midway between the largest number and the next power of two, the even one is the power. Where the last code of
    # the binade is NaN, the even one is the largest number.
    half = 2.0 ** (fmt.emax - fmt.precision)
    found: NDArray[np.bool_] = ~_within(hi, lo, fmt.largest + half, also_at=fmt.omitted % 2 == 1)
    return found & ~np.isnan(hi)


def _within(hi: Float64, lo: Float64, limit: float, *, also_at: bool) -> NDArray[np.bool_]:
    """Return where the magnitude of ``hi + lo`` is below a limit, or at it."""
    size = np.abs(hi)
    found: NDArray[np.bool_] = size < limit
    at = size == limit
    if at.any():  # rare
        beyond = np.where(np.isfinite(hi), np.sign(hi) * lo, 0.0)
        found |= at & ((beyond <= 0) if also_at else (beyond < 0))
    return found


def quantize(values: ArrayLike, fmt: Format) -> Array:
    """Round float64 values to the format, to nearest even: an array of `Format.dtype`."""
    # Not astype alone: ml_dtypes converts float64 through float32, which rounds twice.
    with np.errstate(over="ignore", invalid="ignore"):
        return round_to(values, fmt).astype(fmt.dtype)


def representable(values: ArrayLike, fmt: Format) -> bool:
    """Return whether the format has every value, rounded: none too large, nor an infinity or NaN that it lacks."""
    exact = np.abs(np.asarray(values, np.float64))
    if (np.isinf(exact).any() and not fmt.infinite) or (np.isnan(exact).any() and not fmt.has_nan):
        return False
    # Rounding keeps the order, so the largest value decides.
    largest = np.asarray(exact.max(where=np.isfinite(exact), initial=0.0))
    return not overflows(largest, fmt, np.zeros_like(largest)).any()
