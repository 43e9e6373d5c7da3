"""Losses near zero, where log(1 + tiny) drops the digits that the answer is made of."""

from collections.abc import Iterator

import numpy as np

from .._case import Case, make

QUICK = "margin_25"
TAGS = ("near-zero",)
MARGINS = (3, 8, 12, 16.5, 17, 25, 36, 37, 80, 300, 700)


def cases() -> Iterator[Case]:
    for margin in MARGINS:
        yield make(
            f"certainty/margin_{margin:g}",
            f"The target leads two others by {margin:g}: the loss is about e^-{margin:g}, "
            "which log(sum) rounds away once it is below the unit roundoff.",
            [[float(margin), 0.0, -0.5]],
            [0],
            tags=TAGS,
        )
    spread = np.linspace(-1.0, 1.0, 999)
    yield make(
        "certainty/thousand_small",
        "999 classes about 20 below the target: each is lost in a sum that starts at 1, together they are not.",
        # Unequal, so that the roundings of the sum do not all go the same way, as no sum's error bound assumes.
        [[20.0, *spread], [*spread, 20.0]],
        [0, 999],
        tags=TAGS,
    )
    yield make(
        "certainty/runner_up",
        "One runner-up 9 below the target and the rest 40 below: one term carries the whole loss.",
        [[40.0, 31.0, 0.0, 0.5, -1.0]],
        [0],
        tags=TAGS,
    )
