"""The four number formats: unit roundoff, extremes, limits of ``exp``, ulp and rounding to nearest even.

The functions take an *exact* value as an unevaluated sum of two float64, ``hi + lo``, with ``hi`` the sum rounded to
nearest. So they round correctly even if ``hi`` alone lies on a rounding boundary.

Terms follow N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002, chapter 2.
"""

import math
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UsageError, short_repr

Array = NDArray[Any]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Format:
    """A binary floating-point format with gradual underflow.

    ``precision`` counts the significand's bits with the implicit one; ``emin`` and ``emax`` are the
    exponents of the smallest and largest normal binades.
    """

    name: str
    dtype: np.dtype[Any]
    precision: int
    emin: int
    emax: int

    @property
    def unit_roundoff(self) -> float:
        """Half the distance from 1 to the next number: the relative error of one rounding."""
        return 2.0**-self.precision

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0**self.emax

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.emin

    @property
    def smallest_subnormal(self) -> float:
        return 2.0 ** (self.emin - self.precision + 1)


_FORMATS = (
    Format("float16", np.dtype(np.float16), 11, -14, 15),
    Format("bfloat16", np.dtype(ml_dtypes.bfloat16), 8, -126, 127),
    Format("float32", np.dtype(np.float32), 24, -126, 127),
    Format("float64", np.dtype(np.float64), 53, -1022, 1023),
)
FORMATS: dict[str, Format] = {f.name: f for f in _FORMATS}
DTYPES = tuple(FORMATS)  # their names, in the order of tables


def get_format(dtype: object) -> Format:
    """Return the format of a dtype: a name, a NumPy dtype, or a framework's dtype such as torch.float32.

    Raises:
        UsageError: if it is not one of the four.
    """
    name = dtype if isinstance(dtype, str) else _dtype_name(dtype)
    if name not in FORMATS:
        raise UsageError(f"unknown dtype {short_repr(dtype)}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _dtype_name(dtype: Any) -> str:
    if dtype is None:  # NumPy would read None as float64
        return "None"
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        # PyTorch, Paddle and MLX print torch.float32; TensorFlow's dtypes have a name.
        word = str(dtype).rpartition(".")[2]
        return word if word in FORMATS else str(getattr(dtype, "name", word))


def to_numpy(values: Any, name: str) -> Array:
    """Return an array of any framework, or nested lists, as a NumPy array of the same dtype and numbers.

    Args:
        values: a PyTorch tensor may require a gradient, lie on another device, or be bfloat16.
        name: the argument's name, for the message.

    Raises:
        UsageError: if it cannot be read as an array, such as rows of different lengths.
    """
    try:
        return _as_array(values)
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        message = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{name} cannot be read as an array ({message}); give numbers, in rows of equal length"
        ) from error


def _as_array(values: Any) -> Array:
    # NumPy cannot read a tensor that requires a gradient or lies on another device.
    held = values.detach() if hasattr(values, "detach") else values
    held = held.cpu() if hasattr(held, "cpu") else held
    bfloat16 = np.dtype(ml_dtypes.bfloat16)
    if _dtype_name(getattr(held, "dtype", None)) != bfloat16.name:
        return np.asarray(held if hasattr(held, "__array__") or not hasattr(held, "numpy") else held.numpy())
    # PyTorch and MLX do not export bfloat16, and Paddle exports its bits as integers; float32 holds every bfloat16.
    with suppress(TypeError, ValueError, RuntimeError):
        array = np.asarray(held)
        if array.dtype == bfloat16:
            return array
    wide = getattr(sys.modules[type(held).__module__], "float32", "float32")
    return np.asarray(held.float() if hasattr(held, "float") else held.astype(wide)).astype(bfloat16)


def overflow(fmt: Format) -> float:
    """Return ``ln`` of the largest finite number: above it ``exp`` overflows."""
    return math.log(fmt.largest)


def underflow_to_subnormal(fmt: Format) -> float:
    """Return ``ln`` of the smallest normal number: below it ``exp`` loses bits, or is flushed to zero."""
    return fmt.emin * math.log(2.0)


def underflow_to_zero(fmt: Format) -> float:
    """Return ``ln`` of half the smallest subnormal: below it ``exp`` rounds to zero."""
    return (fmt.emin - fmt.precision) * math.log(2.0)


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
    hi_, lo_ = np.broadcast_arrays(np.asarray(hi, np.float64), np.asarray(lo, np.float64))
    finite = np.isfinite(hi_)
    exponent = _spacing_exponent(np.where(finite, hi_, 1.0), np.where(finite, lo_, 0.0), fmt)
    return np.where(finite, np.ldexp(1.0, exponent), np.nan)


def round_to(hi: ArrayLike, fmt: Format, lo: ArrayLike = 0.0) -> Float64:
    """Round the exact value ``hi + lo`` once to the format, to nearest with ties to even.

    The result is float64, which holds the numbers of all four formats. Overflow gives infinity. Two roundings would be
    wrong: through float32, a value just above the midpoint of two float16 numbers can become the midpoint, and then
    the wrong neighbour.
    """
    hi_, lo_ = np.broadcast_arrays(np.asarray(hi, np.float64), np.asarray(lo, np.float64))
    if fmt.dtype == np.float64:
        return np.array(hi_)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded, doubtful = _cast(hi_, fmt)
        if doubtful.any():
            rounded = np.asarray(rounded)
            rounded[doubtful] = _by_spacing(hi_[doubtful], lo_[doubtful], fmt)
    return rounded


def _cast(hi: Float64, fmt: Format) -> tuple[Float64, NDArray[np.bool_]]:
    """Return ``hi`` rounded by the dtype's conversion, and where ``hi + lo`` may round otherwise: ties, overflow."""
    if fmt.dtype.name == "bfloat16":
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
    return np.copysign(np.where(rounded > fmt.largest, np.inf, rounded), hi)


def rounds_to_zero(hi: Float64, fmt: Format, lo: Float64) -> NDArray[np.bool_]:
    """Return where the exact value ``hi + lo`` rounds to 0 in the format, as `round_to` rounds it."""
    # Midway between 0 and the smallest subnormal, the even one is 0.
    return _within(hi, lo, fmt.smallest_subnormal / 2, also_at=True)


def rounds_to_infinity(hi: Float64, fmt: Format, lo: Float64) -> NDArray[np.bool_]:
    """Return where the exact value ``hi + lo`` rounds to an infinity in the format, as `round_to` rounds it."""
    # Midway between the largest number and the next power of two, the even one is the power, which overflows.
    found: NDArray[np.bool_] = ~_within(hi, lo, fmt.largest + 2.0 ** (fmt.emax - fmt.precision), also_at=False)
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
    """Round float64 values to the format's NumPy dtype, to nearest even."""
    # Not astype alone: ml_dtypes converts float64 to bfloat16 through float32, which rounds twice.
    with np.errstate(over="ignore", invalid="ignore"):
        return round_to(values, fmt).astype(fmt.dtype)


def representable(values: ArrayLike, fmt: Format) -> bool:
    """Return whether every finite value stays finite when rounded to the format."""
    exact = np.abs(np.asarray(values, np.float64))
    # Rounding keeps the order, so the largest value decides.
    return bool(np.isfinite(round_to(exact.max(where=np.isfinite(exact), initial=0.0), fmt)))
