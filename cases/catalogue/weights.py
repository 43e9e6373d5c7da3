"""Class weights, and the mean that divides by their sum."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "zero_on_target"
LOGITS = [[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]]
TARGETS = [0, 2, 1]


def cases() -> Iterator[Case]:
    for reduction in ("none", "mean", "sum"):
        yield make(
            f"weights/article_{reduction}",
            "The article's batch with class weights; a mean divides by the summed weights of the targets.",
            LOGITS,
            TARGETS,
            weight=[0.5, 2.0, 0.25],
            reduction=reduction,
        )
    yield make(
        "weights/zero_on_target",
        "A weight of zero on the target of one row: zero times its loss, however large, is zero.",
        LOGITS,
        TARGETS,
        weight=[1.0, 1.0, 0.0],
    )
    yield make(
        "weights/only_zero_mean",
        "Every target has a weight of zero: the mean divides zero by zero and has no value.",
        [[2.0, 1.0, 0.1], [3.0, 2.0, 1.0]],
        [2, 2],
        weight=[1.0, 1.0, 0.0],
        reduction="mean",
    )
    yield make(
        "weights/far_apart_mean",
        "Weights of 2^-10 and 2^10: the rare class outweighs the common one a million times.",
        [[2.0, 1.0, 0.1], [3.0, 2.0, 1.0]],
        [0, 1],
        weight=[2.0**-10, 2.0**10, 1.0],
        reduction="mean",
    )
    yield make(
        "weights/smoothed",
        "Class weights and label smoothing together: each class's share carries its own weight.",
        [[2.0, 1.0, 0.1], [30.0, 2.0, 1.0]],
        [0, 1],
        weight=[0.5, 2.0, 0.25],
        label_smoothing=0.1,
    )
