"""Targets out of range, which some implementations reject and for which others return a number."""

from collections.abc import Iterator

import numpy as np

from .._case import Case, make

QUICK = "classes"
LOGITS = [[2.0, 1.0, 0.1], [3.0, 2.0, 1.0]]
TARGETS = {
    "minus_one": (-1, "one below the first class, which Python reads as the last"),
    "minus_two": (-2, "two below the first class"),
    "minus_classes": (-3, "the number of classes below the first, still an index from the end"),
    "far_below": (-1000, "far below the first class"),
    "classes": (3, "one past the last class"),
    "far_above": (1000, "far past the last class"),
    "beyond_int32": (2**31, "past what int32 holds, the first class if it is cut to 32 bits"),
    "torch_ignore": (-100, "PyTorch's own index for rows that are ignored, given to a loss without it"),
}


def cases() -> Iterator[Case]:
    for name, (target, description) in TARGETS.items():
        yield make(
            f"invalid/{name}",
            f"A target of {target}, {description}, beside a right one.",
            LOGITS,
            np.array([target, 1]),
            invalid=True,
        )
