"""Logits at the points where ``exp`` becomes subnormal and where it becomes zero in each format."""

from collections.abc import Iterator

from ...core.formats import FORMATS, underflow_to_subnormal, underflow_to_zero
from .._case import Case, make
from ._thresholds import neighbours

QUICK = "float32_zero_at"


def cases() -> Iterator[Case]:
    thresholds = {
        "subnormal": (underflow_to_subnormal, "becomes subnormal (zero where subnormals are flushed)"),
        "zero": (underflow_to_zero, "becomes zero, and its logarithm infinite"),
    }
    for fmt in FORMATS.values():
        for name, (threshold, event) in thresholds.items():
            for side, x in neighbours(threshold(fmt), fmt):
                yield make(
                    f"underflow/{fmt.name}_{name}_{side}",
                    f"exp({x:.7g}) stands {side} the point where a {fmt.name} exponential {event}.",
                    # The target far below the maximum, and a whole row so far below zero.
                    [[0.0, x, -1.0], [x, x, x]],
                    [1, 0],
                    tags=("threshold", fmt.name),
                )
