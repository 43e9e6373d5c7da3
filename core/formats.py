"""The number formats: the four of training, the narrow ones of ml_dtypes, and any that a name describes.

Terms follow N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002, chapter 2. The narrow
formats are those of the OCP 8-bit Floating Point and Microscaling specifications and of other hardware, as `ml_dtypes`
has them.
"""

import math
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from .errors import UsageError, short_repr

Array = NDArray[Any]


class Overflow(StrEnum):
    """The result of rounding a number beyond the largest one."""

    INFINITY = "infinity"
    NAN = "nan"
    SATURATE = "saturate"  # the largest number


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Attributes:
        name: the NumPy dtype's name, or for another format the description that `get_format` reads.
        dtype: the NumPy dtype of arrays with the format's numbers: the format itself, or float64, which holds them all.
        precision: the bits of the significand with the implicit one.
        emin, emax: the exponents of the smallest and largest normal binades.
        subnormals: whether numbers below the smallest normal one are kept, or flushed to zero.
        overflow: what a number beyond the largest becomes.
        infinite: whether the format has infinities.
        has_nan: whether the format has NaN.
        omitted: how many of the largest numbers of the last binade are missing, since their codes are NaN.
    """

    name: str
    dtype: np.dtype[Any]
    precision: int
    emin: int
    emax: int
    subnormals: bool = True
    overflow: Overflow = Overflow.INFINITY
    infinite: bool = True
    has_nan: bool = True
    omitted: int = 0

    @property
    def unit_roundoff(self) -> float:
        """Half the distance from 1 to the next number: the relative error of one rounding."""
        return 2.0**-self.precision

    @cached_property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0 ** (1 - self.precision) * (1 + self.omitted)) * 2.0**self.emax

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.emin

    @property
    def smallest_subnormal(self) -> float:
        return 2.0 ** (self.emin - self.precision + 1)

    @property
    def smallest(self) -> float:
        """The smallest positive number."""
        return self.smallest_subnormal if self.subnormals else self.smallest_normal

    @property
    def is_hosted(self) -> bool:
        """Whether NumPy has no dtype for the format, so that arrays hold its numbers in float64."""
        return self.dtype.name != self.name

    @property
    def overflow_value(self) -> float:
        """The number that a positive one beyond the largest becomes."""
        return {Overflow.INFINITY: math.inf, Overflow.NAN: math.nan, Overflow.SATURATE: self.largest}[self.overflow]


def _of_dtype(name: str) -> Format:
    """Return the format of a dtype of ml_dtypes, by its limits and by what it makes of infinity and NaN."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    info: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    precision, emax = info.nmant + 1, info.maxexp - 1
    with np.errstate(all="ignore"):
        beyond, infinity, nan = (float(np.float64(v).astype(dtype)) for v in (2.0 ** (emax + 1), math.inf, math.nan))
    overflow = Overflow.NAN if math.isnan(beyond) else Overflow.INFINITY if math.isinf(beyond) else Overflow.SATURATE
    full = 2.0 ** (emax + 1) - 2.0 ** (emax + 1 - precision)
    omitted = round((full - float(info.max)) / 2.0 ** (emax + 1 - precision))
    return Format(
        name, dtype, precision, info.minexp, emax, overflow=overflow, infinite=math.isinf(infinity),
        has_nan=math.isnan(nan), omitted=omitted,
    )  # fmt: skip


_FORMATS = (
    Format("float16", np.dtype(np.float16), 11, -14, 15),
    Format("bfloat16", np.dtype(ml_dtypes.bfloat16), 8, -126, 127),
    Format("float32", np.dtype(np.float32), 24, -126, 127),
    Format("float64", np.dtype(np.float64), 53, -1022, 1023),
)
FORMATS: dict[str, Format] = {f.name: f for f in _FORMATS}
DTYPES = tuple(FORMATS)  # their names, in the order of tables
# float8_e8m0fnu, the scale of a block, has neither zero nor sign: logits cannot be stored in it.
NARROW: dict[str, Format] = {
    name: _of_dtype(name)
    for name in (
        "float8_e5m2", "float8_e5m2fnuz", "float8_e4m3", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz",
        "float8_e3m4", "float6_e3m2fn", "float6_e2m3fn", "float4_e2m1fn",
    )
}  # fmt: skip
_TABLE_RANKS = {name: rank for rank, name in enumerate([*FORMATS, *NARROW])}
_SHORT = {name.partition("_")[2]: name for name in NARROW}

# e5m6, e4m7fn, p8_-30_31, each perhaps with -flush, -saturate.
_DESCRIPTION = re.compile(
    r"(?:e(?P<exponent>\d+)m(?P<mantissa>\d+)(?P<finite>fn)?|p(?P<precision>\d+)_(?P<emin>-?\d+)_(?P<emax>-?\d+))"
    r"(?P<flush>-flush)?(?P<saturate>-saturate)?"
)
# Float64 holds sums, products and quotients of such numbers so well that a second rounding is harmless: S. A. Figueroa,
# When is double rounding innocuous?, SIGNUM Newsletter 30, 1995. None of them overflows float64.
MAX_PRECISION, MAX_EXPONENT = 24, 500


def get_format(dtype: object) -> Format:
    """Return the format of a dtype: a name, a NumPy dtype, or a framework's dtype such as torch.float32.

    A narrow format may be named without its width, such as e4m3fn. A name can also describe a format:

    - ``e5m6`` has 5 bits for the exponent and 6 for the mantissa, in the manner of IEEE 754;
    - ``e5m6fn`` has no infinities, and its largest code is NaN;
    - ``p7_-14_15`` has a precision of 7 bits, and binades from 2^-14 to 2^15.

    After it, ``-flush`` flushes subnormal numbers to zero, and ``-saturate`` rounds too large numbers to the largest.

    Raises:
        UsageError: for any other name or dtype.
    """
    name = dtype if isinstance(dtype, str) else _dtype_name(dtype)
    name = _SHORT.get(name, name)
    found = FORMATS.get(name) or NARROW.get(name) or _described(name)
    if found is None:
        raise UsageError(
            f"unknown dtype {short_repr(dtype)}; choose one of {', '.join([*FORMATS, *NARROW])}, or describe a format, "
            "such as e5m6 (bits of exponent and mantissa) or p7_-14_15 (precision, smallest and largest exponent)"
        )
    return found


@lru_cache
def _described(name: str) -> Format | None:
    """Return the format that a name describes; None if it describes none.

    Raises:
        UsageError: if the format is too small, or too large for float64 to compute with.
    """
    found = _DESCRIPTION.fullmatch(name)
    if found is None:
        return None
    if found["exponent"]:
        precision, finite = int(found["mantissa"]) + 1, found["finite"] is not None
        bias = 2 ** (min(int(found["exponent"]), 16) - 1) - 1
        emin, emax = 1 - bias, bias + finite
    else:
        precision, emin, emax, finite = int(found["precision"]), int(found["emin"]), int(found["emax"]), False
    if not (2 <= precision <= MAX_PRECISION and -MAX_EXPONENT <= emin <= emax <= MAX_EXPONENT):
        raise UsageError(
            f"{name} has a precision of {precision} bits and exponents from {emin} to {emax}; give a precision of 2 to "
            f"{MAX_PRECISION} bits and exponents within {MAX_EXPONENT}"
        )
    saturates = found["saturate"] is not None
    overflow = Overflow.SATURATE if saturates else Overflow.NAN if finite else Overflow.INFINITY
    return Format(
        name, np.dtype(np.float64), precision, emin, emax, subnormals=found["flush"] is None, overflow=overflow,
        infinite=not finite, omitted=int(finite),
    )  # fmt: skip


def is_format_name(name: str) -> bool:
    """Return whether a word is the name of a format in tables, not a short name."""
    return name in _TABLE_RANKS or _described(name) is not None


def table_rank(name: str) -> tuple[int, str]:
    """Return the key that sorts the names of formats as in tables: the four, the narrow ones, the others by name."""
    return _TABLE_RANKS.get(name, len(_TABLE_RANKS)), name


def in_table_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return distinct names of formats in the order of tables; see `table_rank`."""
    return tuple(sorted(set(names), key=table_rank))


def format_of_result(dtype: np.dtype[Any], fmt: Format) -> Format:
    """Return the format of a returned array: the inputs' format if NumPy holds that in this dtype."""
    return fmt if fmt.is_hosted and dtype == fmt.dtype else get_format(dtype)


def _dtype_name(dtype: Any) -> str:
    if dtype is None:  # NumPy would read None as float64
        return "None"
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        # PyTorch, Paddle and MLX print torch.float32; TensorFlow's dtypes have a name.
        word = str(dtype).rpartition(".")[2]
        return word if word in FORMATS or word in NARROW else str(getattr(dtype, "name", word))


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
    name = _dtype_name(getattr(held, "dtype", None))
    if name != "bfloat16" and name not in NARROW:
        return np.asarray(held if hasattr(held, "__array__") or not hasattr(held, "numpy") else held.numpy())
    # PyTorch and MLX do not export bfloat16, and Paddle exports its bits as integers; float32 holds every number.
    own = get_format(name).dtype
    with suppress(TypeError, ValueError, RuntimeError):
        array = np.asarray(held)
        if array.dtype == own:
            return array
    wide = getattr(sys.modules[type(held).__module__], "float32", "float32")
    return np.asarray(held.float() if hasattr(held, "float") else held.astype(wide)).astype(own)


def overflow(fmt: Format) -> float:
    """Return ``ln`` of the largest finite number: above it ``exp`` overflows."""
    return math.log(fmt.largest)


def underflow_to_subnormal(fmt: Format) -> float:
    """Return ``ln`` of the smallest normal number: below it ``exp`` loses bits, or is flushed to zero."""
    return fmt.emin * math.log(2.0)


def underflow_to_zero(fmt: Format) -> float:
    """Return ``ln`` of half the smallest subnormal: below it ``exp`` rounds to zero."""
    return (fmt.emin - fmt.precision) * math.log(2.0)
