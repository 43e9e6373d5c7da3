"""Logits at, just below and just above the point where ``exp`` overflows each format."""

from collections.abc import Iterator

from ...core.formats import FORMATS, overflow
from .._case import Case, make
from ._thresholds import neighbours

QUICK = "float32_at"


def cases() -> Iterator[Case]:
    for fmt in FORMATS.values():
        for side, x in neighbours(overflow(fmt), fmt):
            yield make(
                f"overflow/{fmt.name}_{side}",
                f"exp({x:.7g}) stands {side} the largest finite {fmt.name}: above it, unshifted, it overflows.",
                [[x, 0.0, 1.0], [x, 0.0, 1.0], [x, x, -1.0]],
                [0, 1, 2],
                tags=("threshold", fmt.name),
            )
        below = overflow(fmt) - 1.0
        yield make(
            f"overflow/{fmt.name}_sum",
            f"Every exp({below:.5g}) is finite in {fmt.name} and their sum over ten classes is not.",
            [[below] * 10, [below] * 9 + [0.0]],
            [0, 9],
            tags=("threshold", fmt.name),
        )
