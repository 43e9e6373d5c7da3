"""Round arrays of float64 to any format, by any of the five roundings.

An *exact* value is given by its float64 ``hi`` and the sign of what that lacks. So a sum that lies just above a number
of the format is rounded up, even if float64 cannot tell the two apart. Directed and stochastic rounding need this.
Rounding to nearest does not: float64 has more than twice the bits of any format here. So a second rounding of a sum,
product or quotient does no harm; see `core.formats`.

The arithmetic is that of integers, on the bits of float64. Conversions of NumPy and of ml_dtypes have no directions,
and know no other formats.

pychop also rounds to many formats, and is not used here. Its version 0.6.2 rounds a float64 and not an exact value. Its
random numbers depend on the order of calls. It rounds numbers of the binade beyond the largest number to 0, takes 20
times as long, and has the formats of IEEE 754 alone. A test compares the two within the range of normal numbers.
"""

import numpy as np
from numpy.typing import NDArray

from ...core.arithmetic import Rounding
from ...core.formats import Format

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

# A significand of float64 is held with so many bits more, for the sign of what it lacks.
EXTRA = 2
MANTISSA = 52
_FRACTION = np.int64(2**MANTISSA - 1)
_BIAS = 1023
# Formats whose conversion from float64 is done once, to nearest, by NumPy, and much faster.
_CAST = {"float32": np.float32, "float16": np.float16}
_MAX_SHIFT = 62


def round_exact(
    hi: Float64,
    fmt: Format,
    rounding: Rounding = Rounding.NEAREST,
    lacking: Float64 | None = None,
    random: Int64 | None = None,
    random_bits: int = 0,
) -> Float64:
    """Round exact values to a format; the result is float64, which holds the format's numbers.

    - To nearest, ties go to even, and a number too large becomes what the format's `Overflow` says.
    - A directed rounding that leads toward zero gives the largest number instead. One that leads away from zero gives
      what `Overflow` says. If the format flushes subnormal numbers, it gives the smallest normal number below that.
    - Stochastic rounding cuts the discarded fraction to n bits and adds n random bits. A carry rounds away from zero.
      So it rounds away with the probability of the fraction, cut to n bits. Beyond the largest number the next one is
      what `Overflow` says.

    Args:
        hi: the values, rounded to float64; infinity and NaN stay, or become what the format has for them.
        fmt: a format with at most 24 bits of precision.
        rounding: the rounding.
        lacking: what ``hi`` lacks of the exact value; only its sign counts, and it is less than a spacing of float64.
        random: for stochastic rounding, whole numbers from 0 below ``2**random_bits``.
        random_bits: n.
    """
    if rounding is Rounding.NEAREST and lacking is None and fmt.name in _CAST:
        return np.asarray(hi.astype(_CAST[fmt.name]).astype(np.float64))
    finite = np.isfinite(hi)
    all_finite = bool(finite.all())
    rounded = _round_finite(
        hi if all_finite else np.where(finite, hi, 0.0), fmt, rounding, lacking, random, random_bits
    )
    if all_finite:
        return rounded
    infinity = np.inf if fmt.infinite else fmt.overflow_value
    return np.where(finite, rounded, np.where(np.isnan(hi), np.nan, np.copysign(infinity, hi)))


def _units(hi: Float64, lacking: Float64 | None, fmt: Format) -> tuple[Int64, Int64, Int64]:
    """Return the magnitudes in fine units, the exponents of the spacing, and the bits of a unit below a spacing."""
    raw = np.abs(hi).view(np.int64)
    field = raw >> MANTISSA
    # A subnormal float64 is far below all formats. Its exponent is that of the smallest normal one.
    exponent = np.maximum(field, 1) - _BIAS
    units = ((raw & _FRACTION) | ((field > 0).astype(np.int64) << MANTISSA)) << EXTRA
    below: Int64 | int = 0
    if lacking is not None:
        side = (np.sign(lacking) * np.sign(hi)).astype(np.int64)
        # Just below a power of two the spacing is half of that above it.
        below = ((units == 1 << (MANTISSA + EXTRA)) & (side < 0)).astype(np.int64)
        units = units + side
    spacing = np.maximum(exponent - below, fmt.emin) - (fmt.precision - 1)
    return units, spacing, spacing - exponent + (MANTISSA + EXTRA)


def _round_finite(
    hi: Float64, fmt: Format, rounding: Rounding, lacking: Float64 | None, random: Int64 | None, random_bits: int
) -> Float64:
    units, spacing, shift = _units(hi, lacking, fmt)
    held = np.minimum(shift, _MAX_SHIFT)
    whole = units >> held
    rest = units - (whole << held)
    negative = np.signbit(hi)
    away: NDArray[np.bool_] | None = None  # for a directed rounding, where it leads away from zero
    if rounding is Rounding.NEAREST:
        half = np.int64(1) << (held - 1)
        carry = (rest > half) | ((rest == half) & (whole & 1 == 1))
    elif rounding is Rounding.STOCHASTIC:
        if random is None:
            raise ValueError("stochastic rounding needs random numbers")
        cut = rest >> np.minimum(shift - random_bits, _MAX_SHIFT)
        carry = (cut + random) >> random_bits == 1
    else:
        away = {Rounding.UP: ~negative, Rounding.DOWN: negative}.get(rounding, np.zeros_like(negative))
        carry = (rest > 0) & away
    scale = ((spacing + _BIAS) << MANTISSA).view(np.float64)
    size = (whole + carry).astype(np.float64) * scale
    if not fmt.subnormals:
        small = size < fmt.smallest_normal
        up = small & away & (units > 0) if away is not None else np.zeros_like(small)
        size = np.where(small, np.where(up, fmt.smallest_normal, 0.0), size)
    beyond = size > fmt.largest
    if beyond.any():
        past = fmt.overflow_value if away is None else np.where(away, fmt.overflow_value, fmt.largest)
        size = np.where(beyond, past, size)
    return np.copysign(size, hi)


def is_near_boundary(hi: Float64, fmt: Format, distance: int) -> NDArray[np.bool_]:
    """Return where a value is so many units in the last place of float64, or fewer, from where a rounding changes."""
    units, _, shift = _units(hi, None, fmt)
    # A number of the format and the middle of two are multiples of half a spacing.
    half = np.int64(1) << np.minimum(shift - 1, _MAX_SHIFT)
    past = units & (half - 1)
    near = distance << EXTRA
    found: NDArray[np.bool_] = ((past <= near) | (past >= half - near)) & np.isfinite(hi)
    return found
