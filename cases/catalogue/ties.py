"""All logits equal: the loss is log C, and the sum of the exponentials is C ones."""

from collections.abc import Iterator

import numpy as np

from .._case import Case, make

QUICK = "two_maxima"
CLASSES = (1, 2, 3, 5, 10, 17, 127, 128, 257, 1000, 2049, 50257, 131072)


def cases() -> Iterator[Case]:
    for classes in CLASSES:
        yield make(
            f"ties/{classes}",
            f"{classes} equal logits: a sum of ones kept in a format of p bits stops growing at 2^p.",
            np.zeros((1, classes)),
            [classes - 1],
        )
    yield make(
        "ties/2049_at_500",
        "2049 logits of 500: the ties and the overflow of an unshifted exponential together.",
        np.full((1, 2049), 500.0),
        [0],
    )
    yield make(
        "ties/two_maxima",
        "Two equal maxima far above the rest, one of them the target: the loss is log 2 and the gradient halves.",
        [[300.0, 300.0, 0.0], [300.0, 0.0, 300.0]],
        [0, 2],
    )
