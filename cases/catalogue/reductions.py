"""Means and sums whose rows are fine and whose total is not."""

from collections.abc import Iterator

import numpy as np

from .._case import Case, make

QUICK = "infinite_row_mean"


def cases() -> Iterator[Case]:
    yield make(
        "reductions/mean_beyond_float16",
        "Three losses of 30000: their sum lies beyond float16 and their mean does not.",
        [[30000.0, 0.0]] * 3,
        [1, 1, 1],
        reduction="mean",
    )
    yield make(
        "reductions/sum_beyond_float16",
        "Three losses of 30000: the sum itself lies beyond float16.",
        [[30000.0, 0.0]] * 3,
        [1, 1, 1],
        reduction="sum",
    )
    yield make(
        "reductions/one_large_mean",
        "One loss of 10000 among losses near e^-20: the mean is the large one's share.",
        [[20.0, 0.0]] * 9 + [[10000.0, 0.0]],
        [0] * 9 + [1],
        reduction="mean",
        tags=("near-zero",),
    )
    yield make(
        "reductions/tiny_mean",
        "Losses near e^-20 alone: the mean has their digits or none.",
        [[20.0, 0.0, -1.0]] * 8,
        [0] * 8,
        reduction="mean",
        tags=("near-zero",),
    )
    ramp = np.linspace(-4.0, 4.0, 3 * 300).reshape(300, 3)
    for reduction in ("mean", "sum"):
        yield make(
            f"reductions/many_rows_{reduction}",
            f"300 rows under a {reduction}: a running total kept in bfloat16 stops growing.",
            ramp,
            np.arange(300) % 3,
            reduction=reduction,
        )
    yield make(
        "reductions/infinite_row_mean",
        "One row of +inf among finite ones: the mean is +inf, every gradient finite.",
        [[1.0, 2.0, 3.0], [float("-inf"), 1.0, 2.0]],
        [0, 0],
        reduction="mean",
    )
    yield make(
        "reductions/nan_row_sum",
        "One NaN row among finite ones: the sum is NaN, the gradients of the other rows are not.",
        [[1.0, 2.0, 3.0], [float("nan"), 1.0, 2.0]],
        [0, 0],
        reduction="sum",
    )
    for reduction in ("none", "mean", "sum"):
        yield make(
            f"reductions/empty_{reduction}",
            "A batch of no rows: the sum is 0 and the mean has no value.",
            np.zeros((0, 3)),
            np.zeros(0, np.int64),
            reduction=reduction,
        )
