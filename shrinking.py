"""Simpler numbers: what a failing input is made smaller by, in a check and in a hunt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = (1, 2, 3, 4)  # significant decimal ones that a number is rounded to
ONE_BY_ONE = 64  # distinct numbers that are made rounder each on its own


def rounder(x: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Rounder versions, the boldest first: all numbers at once, then those that are equal together."""
    finite = np.isfinite(x)
    for rounded in (np.zeros_like(x), np.round(x), *(_significant(x, d) for d in DIGITS)):
        yield np.where(finite, rounded, x)
    values = np.unique(x[finite])
    for value in values[np.argsort(-np.abs(values))][:ONE_BY_ONE]:
        for rounder in dict.fromkeys(
            [0.0, 1.0, float(np.round(value)), *(float(_significant(value, d)) for d in DIGITS)]
        ):
            if rounder != value:
                yield np.where(x == value, rounder, x)


def _significant(x: Any, digits: int) -> Any:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        places = digits - 1 - np.floor(np.log10(np.abs(x)))
        rounded = np.round(x * 10.0**places) / 10.0**places
    return np.where(np.isfinite(rounded), rounded, x)


def roughness(logits: NDArray[Any]) -> tuple[int, int, float]:
    """Distinct numbers, the characters it takes to write them, and how large they are."""
    values = np.unique(logits.astype(np.float64))
    finite = values[np.isfinite(values)]
    return (
        len(values),
        sum(len(f"{v:g}".replace("e+", "e")) if float(f"{v:g}") == v else 17 for v in values),
        float(np.abs(finite).max(initial=0.0)),
    )
