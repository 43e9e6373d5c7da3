"""The four number formats: unit roundoff, extremes, where ``exp`` leaves them, ulp and rounding to nearest even.

Everything here works on an *exact* value kept as an unevaluated sum of two float64, ``hi + lo`` with
``hi`` the sum rounded to nearest, so that a value between two numbers of a format is placed
correctly even when ``hi`` alone sits on a rounding boundary.

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
    """The format of a dtype: its name, anything NumPy takes for a dtype, or a framework's own, such as torch.float32.

    Raises:
        UsageError: if it is none of the four.
    """
    name = dtype if isinstance(dtype, str) else _dtype_name(dtype)
    if name not in FORMATS:
        raise UsageError(f"unknown dtype {short_repr(dtype)}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _dtype_name(dtype: Any) -> str:
    if dtype is None:  # which NumPy takes for float64
        return "None"
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        # PyTorch's, Paddle's and MLX's print as torch.float32; TensorFlow's have a name instead.
        word = str(dtype).rpartition(".")[2]
        return word if word in FORMATS else str(getattr(dtype, "name", word))


def to_numpy(values: Any, name: str) -> Array:
    """An array of any framework, or nested lists, as a NumPy array of the same dtype and numbers.

    Args:
        values: PyTorch's may require a gradient, lie on another device, or be bfloat16.
        name: what it is, for the message.

    Raises:
        UsageError: for what cannot be read as an array, such as rows of different lengths.
    """
    try:
        return _as_array(values)
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        message = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{name} cannot be read as an array ({message}); give numbers, in rows of equal length"
        ) from error


def _as_array(values: Any) -> Array:
    # NumPy reads neither what PyTorch and Paddle differentiate, nor another device's memory.
    held = values.detach() if hasattr(values, "detach") else values
    held = held.cpu() if hasattr(held, "cpu") else held
    bfloat16 = np.dtype(ml_dtypes.bfloat16)
    if _dtype_name(getattr(held, "dtype", None)) != bfloat16.name:
        return np.asarray(held if hasattr(held, "__array__") or not hasattr(held, "numpy") else held.numpy())
    # PyTorch and MLX do not hand bfloat16 over, and Paddle hands over its bits as integers: float32 holds every number.
    with suppress(TypeError, ValueError, RuntimeError):
        array = np.asarray(held)
        if array.dtype == bfloat16:
            return array
    wide = getattr(sys.modules[type(held).__module__], "float32", "float32")
    return np.asarray(held.float() if hasattr(held, "float") else held.astype(wide)).astype(bfloat16)


def overflow(fmt: Format) -> float:
    """Where ``exp`` leaves the format above: ``ln`` of the largest finite number."""
    return math.log(fmt.largest)


def underflow_to_subnormal(fmt: Format) -> float:
    """``ln`` of the smallest normal number: below it ``exp`` loses bits, or is flushed to zero."""
    return fmt.emin * math.log(2.0)


def underflow_to_zero(fmt: Format) -> float:
    """``ln`` of half the smallest subnormal: below it ``exp`` rounds to zero."""
    return (fmt.emin - fmt.precision) * math.log(2.0)


def _spacing_exponent(hi: Float64, lo: Float64, fmt: Format) -> NDArray[np.int64]:
    """Exponent ``q`` of the spacing ``2^q`` of ``fmt`` at each finite exact value ``hi + lo``."""
    fraction, exponent = np.frexp(hi)
    # A power of two approached from below lies in the binade under it, where the spacing is half.
    below = (np.abs(fraction) == 0.5) & (lo * np.sign(hi) < 0)
    floor_log2 = exponent.astype(np.int64) - 1 - below
    floor_log2 = np.where(hi == 0, fmt.emin, floor_log2)
    spacing: NDArray[np.int64] = np.clip(floor_log2, fmt.emin, fmt.emax) - (fmt.precision - 1)
    return spacing


def ulp(hi: ArrayLike, fmt: Format, lo: ArrayLike = 0.0) -> Float64:
    """Spacing of the format's numbers in the binade of the exact value ``hi + lo``, as float64.

    Below the smallest normal number it is the spacing of the subnormals, above the largest finite
    number that of the last binade. NaN and infinity give NaN.
    """
    hi_, lo_ = np.broadcast_arrays(np.asarray(hi, np.float64), np.asarray(lo, np.float64))
    finite = np.isfinite(hi_)
    exponent = _spacing_exponent(np.where(finite, hi_, 1.0), np.where(finite, lo_, 0.0), fmt)
    return np.where(finite, np.ldexp(1.0, exponent), np.nan)


def round_to(hi: ArrayLike, fmt: Format, lo: ArrayLike = 0.0) -> Float64:
    """The exact value ``hi + lo`` rounded once to the format, to nearest with ties to even.

    Returned as float64, which holds the numbers of all four formats. Overflow gives infinity.
    Rounding in one step matters: through float32 a value just above the midpoint of two float16
    numbers can first become the midpoint and then the wrong neighbour.
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
    """``hi`` alone rounded by the dtype's own conversion, and where that need not be ``hi + lo`` rounded: at ties, and
    where it overflows.
    """
    if fmt.dtype.name == "bfloat16":
        # Converted through float32 it is rounded twice, which shows where float32 lies midway of two bfloat16.
        single = np.asarray(hi.astype(np.float32))
        midway = single.view(np.uint32) & 0xFFFF == 0x8000
        rounded = np.asarray(single.astype(fmt.dtype).astype(np.float64))
    else:
        rounded = np.asarray(hi.astype(fmt.dtype).astype(np.float64))
        other = hi + (hi - rounded)
        midway = (other != rounded) & (other.astype(fmt.dtype) == other)
    return rounded, midway | (np.isinf(rounded) & np.isfinite(hi))


def _by_spacing(hi: Float64, lo: Float64, fmt: Format) -> Float64:
    """Finite ``hi + lo`` rounded in units of the format's spacing."""
    exponent = _spacing_exponent(hi, lo, fmt)
    # hi in units of the spacing: exact, since scaling by a power of two drops no bit that float64 holds.
    scaled = np.ldexp(np.ldexp(hi, -(exponent // 2)), -(exponent - exponent // 2))
    whole = np.floor(scaled)
    past_half = (scaled - whole) - 0.5
    low_sign = np.sign(lo)
    # When hi itself is a number of the format, half a spacing away only lo could matter, and it is too small.
    tie = (past_half == 0) & (low_sign == 0)
    up = (past_half > 0) | ((past_half == 0) & (low_sign > 0)) | (tie & (whole % 2 != 0))
    rounded = np.ldexp(np.ldexp(whole + up, exponent // 2), exponent - exponent // 2)
    rounded = np.where(np.abs(rounded) > fmt.largest, np.copysign(np.inf, rounded), rounded)
    return np.where(rounded == 0, np.copysign(0.0, hi), rounded)


def quantize(values: ArrayLike, fmt: Format) -> Array:
    """Values of float64 rounded to the format's own NumPy dtype, to nearest even."""
    # round_to and not astype: ml_dtypes converts float64 to bfloat16 through float32, rounding twice.
    with np.errstate(over="ignore", invalid="ignore"):
        return round_to(values, fmt).astype(fmt.dtype)


def representable(values: ArrayLike, fmt: Format) -> bool:
    """Whether no finite value becomes infinite when rounded to the format."""
    exact = np.abs(np.asarray(values, np.float64))
    # Rounding keeps the order, so that the largest decides.
    return bool(np.isfinite(round_to(exact.max(where=np.isfinite(exact), initial=0.0), fmt)))
