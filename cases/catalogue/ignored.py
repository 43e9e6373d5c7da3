"""Rows that ``ignore_index`` takes out, some of them and all, and what may stand in such a row."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "nan_row_mean"
INF = float("inf")
LOGITS = [[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]]
# Logits of an ignored row that a loss may not read: its loss and its gradient are exactly 0 all the same.
UNREADABLE = {
    "nan_row": ([float("nan"), 1.0, 0.0], "has a NaN logit"),
    "masked_row": ([-INF, -INF, -INF], "is masked throughout"),
    "infinite_row": ([INF, 1.0, 0.0], "has a +inf logit"),
}


def cases() -> Iterator[Case]:
    for reduction in ("none", "mean", "sum"):
        yield make(
            f"ignored/one_{reduction}",
            "One row of three ignored: its loss and gradient are zero, and a mean divides by two.",
            LOGITS,
            [0, -100, 1],
            ignore_index=-100,
            reduction=reduction,
        )
        yield make(
            f"ignored/all_{reduction}",
            "Every row ignored: a mean divides zero by zero and has no value.",
            LOGITS,
            [-100, -100, -100],
            ignore_index=-100,
            reduction=reduction,
        )
    for name, (row, what) in UNREADABLE.items():
        for reduction in ("none", "mean"):
            yield make(
                f"ignored/{name}_{reduction}",
                f"The ignored row {what}: it must not change the other rows or the mean.",
                [LOGITS[0], row, LOGITS[2]],
                [0, -100, 1],
                ignore_index=-100,
                reduction=reduction,
            )
    yield make(
        "ignored/a_class",
        "The ignored index is one of the classes: its rows are ignored, and its logits still take part in the others.",
        LOGITS,
        [0, 2, 1],
        ignore_index=2,
    )
    yield make(
        "ignored/weighted_mean",
        "An ignored row under class weights: the mean divides by the weights of the rows that count.",
        LOGITS,
        [0, -100, 1],
        ignore_index=-100,
        weight=[0.5, 2.0, 0.25],
        reduction="mean",
    )
    yield make(
        "ignored/smoothed_mean",
        "An ignored row under label smoothing: it must not get its share of the smoothed part.",
        LOGITS,
        [0, -100, 1],
        ignore_index=-100,
        label_smoothing=0.1,
        reduction="mean",
    )
