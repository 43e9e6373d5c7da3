"""Simpler numbers for a failing input, used to shrink it in a check and in a hunt."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = (1, 2, 3, 4)  # significant decimal digits that a number is rounded to
ONE_BY_ONE = 64  # distinct numbers that are rounded one at a time


def rounder(x: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield versions with rounder and smaller numbers: first all numbers changed, then one value at a time."""
    finite = np.isfinite(x)
    values = np.unique(x[finite])
    with np.errstate(over="ignore"):
        without_offset = [x - end for end in (*values[:1], *values[-1:])]
    for simpler in (np.zeros_like(x), *without_offset, *_simpler(x)):
        yield np.where(finite & np.isfinite(simpler), simpler, x)
    for value in values[np.argsort(-np.abs(values))][:ONE_BY_ONE]:
        for number in dict.fromkeys([0.0, 1.0, *map(float, _simpler(value))]):
            if number != value:
                yield np.where(x == value, number, x)


def _simpler(x: Any) -> Iterator[Any]:
    yield np.round(x)
    # A square root brings 2e38 close to ordinary numbers in few steps.
    yield np.trunc(np.sign(x) * np.sqrt(np.abs(x)))
    yield np.trunc(x / 2)
    for digits in DIGITS:
        yield _significant(x, digits)


def _significant(x: Any, digits: int) -> Any:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        places = digits - 1 - np.floor(np.log10(np.abs(x)))
        rounded = np.round(x * 10.0**places) / 10.0**places
    return np.where(np.isfinite(rounded), rounded, x)


def roughness(logits: NDArray[Any]) -> tuple[int, int, float]:
    """Return the number of distinct values, the characters needed to write them, and the largest absolute value."""
    values = np.unique(logits.astype(np.float64))
    finite = values[np.isfinite(values)]
    return (
        len(values),
        sum(map(_characters, values.tolist())),
        float(np.abs(finite).max(initial=0.0)),
    )


def _characters(value: float) -> int:
    short = f"{value:g}"
    return len(short.replace("e+", "e")) if float(short) == value else 17
