"""Where ``exp`` leaves a format: the numbers of the format on either side of each threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..formats import Format, round_to, ulp

SIDES = ("below", "at", "above")


def overflow(fmt: Format) -> float:
    """``ln`` of the largest finite number: above it ``exp`` has no finite value to round to."""
    return math.log(fmt.largest)


def underflow_to_subnormal(fmt: Format) -> float:
    """``ln`` of the smallest normal number: below it ``exp`` loses bits, or is flushed to zero."""
    return fmt.emin * math.log(2.0)


def underflow_to_zero(fmt: Format) -> float:
    """``ln`` of half the smallest subnormal: below it ``exp`` rounds to zero."""
    return (fmt.emin - fmt.precision) * math.log(2.0)


def neighbours(threshold: float, fmt: Format) -> Iterator[tuple[str, float]]:
    """The format's number nearest the threshold, with the ones just below and above it, and their names."""
    nearest = float(round_to(threshold, fmt))
    for side, steps in zip(SIDES, (-1, 0, 1), strict=True):
        yield side, nearest + steps * float(ulp(nearest, fmt))
