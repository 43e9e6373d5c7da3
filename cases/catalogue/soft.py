"""Targets that are class probabilities: one-hot, soft, against masks, and not summing to one."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "zero_on_mask"
INF = float("inf")
LOGITS = [[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]]
ONEHOT = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
SOFT = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.125, 0.75, 0.125]]


def cases() -> Iterator[Case]:
    yield make("soft/onehot", "The article's batch with its targets written as one-hot rows.", LOGITS, ONEHOT)
    for reduction in ("none", "mean", "sum"):
        yield make(
            f"soft/article_{reduction}",
            "The article's batch with soft targets: every log-probability counts, that of -2000 too.",
            LOGITS,
            SOFT,
            reduction=reduction,
        )
    yield make(
        "soft/zero_on_mask",
        "An exact zero in the target against a masked class: 0 x -inf is 0 by the limit.",
        [[-INF, 1.0, 2.0], [1.0, -INF, 2.0]],
        [[0.0, 0.5, 0.5], [0.25, 0.0, 0.75]],
        source="google-deepmind/optax#896",
        reported="The one-hot loss gave NaN for a logit of -inf whose label is 0. No version given.",
    )
    yield make(
        "soft/some_on_mask",
        "A part of the target on a masked class: the loss is +inf and the gradient finite.",
        [[-INF, 1.0, 2.0]],
        [[0.25, 0.5, 0.25]],
    )
    yield make(
        "soft/less_than_one",
        "Targets that sum to one half, as mixing and masking leave them: the gradient is half softmax less target.",
        LOGITS,
        [[0.25, 0.125, 0.125]] * 3,
    )
    yield make(
        "soft/more_than_one",
        "Targets that sum to two, for two labels that are both right.",
        LOGITS,
        [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]],
    )
    yield make("soft/nothing", "A target row of zeros: loss and gradient are exactly zero.", LOGITS, [[0.0] * 3] * 3)
    yield make(
        "soft/optimum",
        "Soft targets that the softmax already equals: the loss is the entropy and the gradient zero.",
        [[0.0, 0.0, 0.0, 0.0, 0.0]],
        [[0.2, 0.2, 0.2, 0.2, 0.2]],
    )
    yield make(
        "soft/tiny_share",
        "A target share of 2^-20 on a class 1000 below the maximum: a small part of a large loss.",
        [[1000.0, 0.0, 0.0]],
        [[1.0 - 2.0**-20, 2.0**-20, 0.0]],
    )
    yield make("soft/smoothed", "Soft targets under label smoothing.", LOGITS, SOFT, label_smoothing=0.1)
