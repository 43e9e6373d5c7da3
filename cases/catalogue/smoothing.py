"""Label smoothing: every class has a share of the target, the masked and the unlikely ones too."""

from collections.abc import Iterator

import numpy as np

from .._case import Case, make

QUICK = "masked_class"
INF = float("inf")


def cases() -> Iterator[Case]:
    mild = [[2.0, 1.0, 0.1], [3.0, 2.0, 1.0]]
    for smoothing in (0.001, 0.1, 0.5, 1.0):
        yield make(
            f"smoothing/mild_{smoothing:g}",
            f"Ordinary logits under a label smoothing of {smoothing:g}.",
            mild,
            [0, 1],
            label_smoothing=smoothing,
        )
    yield make(
        "smoothing/mild_mean",
        "Ordinary logits under label smoothing and the mean that training uses.",
        mild,
        [0, 1],
        label_smoothing=0.1,
        reduction="mean",
    )
    for gap in (20, 100, 1000):
        yield make(
            f"smoothing/gap_{gap}",
            f"A gap of {gap}: smoothing gives the unlikely classes weight, and their log-probabilities with it.",
            [[float(gap), 0.0, 1.0], [0.0, float(gap), 1.0]],
            [0, 0],
            label_smoothing=0.1,
        )
    yield make(
        "smoothing/offset",
        "Smoothed targets on logits with a common offset of 1e4, which cancels in the answer.",
        [[1e4, 1e4 + 8.0, 1e4 - 8.0]],
        [1],
        label_smoothing=0.1,
        tags=("offset",),
    )
    yield make(
        "smoothing/masked_class",
        "Smoothing gives a masked class a share of the target: the loss is +inf, and the gradient finite.",
        [[-INF, 1.0, 2.0]],
        [1],
        label_smoothing=0.1,
    )
    yield make(
        "smoothing/optimum",
        "The logits at which the smoothed loss is smallest: softmax and target agree, and the gradient cancels.",
        [[np.log(1.0 - 0.1 + 0.1 / 3), np.log(0.1 / 3), np.log(0.1 / 3)]],
        [0],
        label_smoothing=0.1,
    )
    yield make(
        "smoothing/uniform",
        "Equal logits under full smoothing: the gradient is exactly zero.",
        [[0.0, 0.0, 0.0]],
        [0],
        label_smoothing=1.0,
    )
    yield make(
        "smoothing/wide",
        "Smoothing over 1000 classes: the mean of a thousand log-probabilities joins the target's own.",
        [np.linspace(-30.0, 30.0, 1000)],
        [999],
        label_smoothing=0.1,
    )
