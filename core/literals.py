"""Numbers as literals of a Python program."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .formats import Format, get_format
from .rounding import quantize

Float64 = NDArray[np.float64]

RUNS_FROM = 8  # at least this many equal numbers are written as a product
STEPS_FROM = 8  # at least this many numbers with one difference are written as a loop
# The numbers of digits that are tried together, since a rounding costs as much for several numbers as for one. Most
# numbers of 16 bits need at most the first five, most of 32 bits nine; seventeen are enough for any float64.
DIGITS = (range(1, 6), range(6, 10), range(10, 18))


def float_literal(value: float) -> str:
    """Return an expression of a float64, which may be infinite or NaN."""
    return repr(float(value)) if np.isfinite(value) else f"float('{float(value)}')"


def nested_list(values: NDArray[Any], number: Callable[[float], str] = float_literal) -> str:
    """Return a literal of nested lists, with runs of equal numbers as products."""
    if values.ndim == 0:
        return number(float(values))
    return joined([nested_list(part, number) for part in values.astype(np.float64)])


def joined(literals: Sequence[str]) -> str:
    """Return a list of literals, with runs of equal ones as products."""
    runs = [(literal, len(list(same))) for literal, same in groupby(literals)]
    if all(count < RUNS_FROM for _, count in runs):
        return f"[{', '.join(literal for literal, count in runs for _ in range(count))}]"
    parts = []
    for is_long, some in groupby(runs, key=lambda run: run[1] >= RUNS_FROM):
        if is_long:
            parts += [f"[{literal}] * {count}" for literal, count in some]
        else:
            parts.append(f"[{', '.join(literal for literal, count in some for _ in range(count))}]")
    return " + ".join(parts)


def short_list(values: NDArray[Any]) -> str:
    """Return a literal of nested lists that gives the values when it is converted to their dtype, as short as possible.

    Args:
        values: an array of a dtype of NumPy or ml_dtypes.
    """
    fmt = get_format(values.dtype)
    if values.ndim > 1:
        return joined([short_list(part) for part in values])
    numbers = values.astype(np.float64)
    if numbers.ndim == 0:
        return _shortest(numbers.reshape(1), fmt)[0]
    return _steps(numbers, fmt) or joined(_shortest(numbers, fmt))


def short_list_within(values: NDArray[Any], limit: int) -> str | None:
    """Return `short_list` of the values, or None if it has more characters than the limit.

    Large arrays are not written to find out: a matrix of millions of numbers would take a minute.
    """
    if values.ndim > 1:
        texts: list[str] = []
        left = limit
        for i, part in enumerate(values):
            if i and part.tobytes() == values[i - 1].tobytes():
                texts.append(texts[-1])
                continue
            text = short_list_within(part, left)
            if text is None:
                return None
            texts.append(text)
            left -= len(text)
        whole = joined(texts)
    else:
        # Each number or product of equal numbers has at least three characters.
        runs = 1 + np.count_nonzero(values[1:] != values[:-1])
        if 3 * runs > limit and _steps(values.astype(np.float64), get_format(values.dtype)) is None:
            return None
        whole = short_list(values)
    return whole if len(whole) <= limit else None


def _shortest(values: NDArray[np.float64], fmt: Format) -> list[str]:
    """Return the shortest literals that the dtype rounds to the values, also by way of float32; ``inf`` and ``nan``."""
    # Equal numbers have one literal. By their bits, so that -0.0 is not 0.0.
    bits, where = np.unique(np.ascontiguousarray(values).view(np.int64), return_inverse=True)
    distinct = bits.view(np.float64)
    numbers = shortest_decimals(distinct, lambda tried, wanted: _gives(tried, wanted, fmt))
    # An infinite number and NaN have the names that `float` reads.
    literals = [str(float(number)) for number in numbers]
    return [literals[place] for place in where]


def shortest_decimals(values: Float64, gives: Callable[[Float64, Float64], NDArray[np.bool_]]) -> Float64:
    """Return for each finite value the number with the fewest decimal digits that stands for it; others as they are.

    Args:
        values: (N,).
        gives: returns for each number whether it stands for its value.
    """
    found = values.copy()
    left = np.flatnonzero(np.isfinite(values))
    for lot in DIGITS:
        if not left.size:
            break
        numbers = values[left].tolist()
        tried = np.array([float(f"{number:.{digits}g}") for digits in lot for number in numbers])
        given = gives(tried, np.tile(values[left], len(lot))).reshape(len(lot), -1)
        best = tried.reshape(given.shape)[given.argmax(axis=0), np.arange(len(left))]
        known = given.any(axis=0)
        found[left[known]] = best[known]
        left = left[~known]
    return found


def _gives(numbers: NDArray[np.float64], values: NDArray[np.float64], fmt: Format) -> NDArray[np.bool_]:
    """Return for each number whether the dtype rounds it to its value, also by way of float32."""
    with np.errstate(over="ignore"):
        by_float32 = quantize(numbers.astype(np.float32), fmt) if fmt.precision <= 24 else numbers
    both = (quantize(numbers, fmt), by_float32)
    given: NDArray[np.bool_] = np.all([way.astype(np.float64) == values for way in both], axis=0)
    return given


def _steps(values: NDArray[np.float64], fmt: Format) -> str | None:
    """Return an expression of numbers with one difference, such as ``[0.5 * i for i in range(257)]``; None for others.

    Numbers that start with others, such as a target's, follow them.
    """
    for start in (0, 1):
        rest = values[start:]
        if len(rest) < STEPS_FROM or not np.isfinite(rest).all() or rest[0] == rest[1]:
            continue
        with np.errstate(over="ignore"):
            tried = dict.fromkeys((rest[1] - rest[0], (rest[-1] - rest[0]) / (len(rest) - 1)))
        for step in tried:
            i = np.arange(len(rest), dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                steps = rest[0] + step * i
            if _gives(steps, rest, fmt).all():
                sign, size = ("-", -step) if step < 0 else ("+", step)
                first = "" if rest[0] == 0 and sign == "+" else f"{rest[0]!r} {sign} ".replace("np.float64", "")
                before = "" if start == 0 else f"[{_shortest(values[:1], fmt)[0]}] + "
                by = "i" if size == 1 else f"{float(size)!r} * i"
                return f"{before}[{_plain(first)}{by} for i in range({len(rest)})]"
    return None


def _plain(text: str) -> str:
    return text.replace("(", "").replace(")", "")
