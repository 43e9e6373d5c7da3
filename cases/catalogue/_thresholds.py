"""The numbers of a format on either side of a threshold."""

from collections.abc import Iterator

from ...core.formats import Format
from ...core.rounding import round_to, ulp

SIDES = ("below", "at", "above")


def neighbours(threshold: float, fmt: Format) -> Iterator[tuple[str, float]]:
    """The format's number nearest the threshold, with the ones just below and above it, and their names."""
    nearest = float(round_to(threshold, fmt))
    for side, steps in zip(SIDES, (-1, 0, 1), strict=True):
        yield side, nearest + steps * float(ulp(nearest, fmt))
