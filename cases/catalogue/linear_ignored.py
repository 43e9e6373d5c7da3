"""Ignored rows of hidden states: nothing in them may reach the loss or a gradient."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from .._linear_case import make_linear
from ._layers import layer

QUICK = "nan_row_mean"
IGNORED = -100


def cases() -> Iterator[Case]:
    states, weight = layer(8, 64, 40, seed=8, spread=3.0)
    targets = np.array([0, 3, IGNORED, 7, 39, IGNORED, 3, 12])
    bias = np.linspace(-1.0, 1.0, 40)
    for reduction in ("none", "mean"):
        yield make_linear(
            f"linear_ignored/two_{reduction}",
            "Two ignored rows: they add nothing to the gradient by the weight, and a mean leaves them out.",
            states, weight, targets, bias=bias, ignore_index=IGNORED, reduction=reduction, tags=("seeded",),
        )  # fmt: skip
    three, classes = layer(3, 4, 5, seed=10)
    broken = three.copy()
    broken[1] = np.nan
    for reduction in ("none", "mean"):
        yield make_linear(
            f"linear_ignored/nan_row_{reduction}",
            "An ignored row of NaN: its loss is 0, and zero times NaN must not reach the gradient by the weight.",
            broken, classes, [0, IGNORED, 4], ignore_index=IGNORED, reduction=reduction, tags=("seeded",),
        )  # fmt: skip
    for reduction in ("none", "sum", "mean"):
        yield make_linear(
            f"linear_ignored/all_{reduction}",
            "Every row ignored: all gradients are 0, and a mean divides by nothing.",
            three, classes, [IGNORED] * 3, ignore_index=IGNORED, reduction=reduction, tags=("seeded",),
        )  # fmt: skip
