"""Large, tiny, infinite and zero numbers in hidden states, weight and bias."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from .._linear_case import make_linear
from ._layers import layer

QUICK = "filtered_gradient"
INF = float("inf")


def cases() -> Iterator[Case]:
    states, weight = layer(8, 64, 40, seed=4)
    dominating = weight.copy()
    dominating[7] *= 100.0
    yield make_linear(
        "linear_extremes/dominating_row",
        "One class with a weight 100 times as large: its logit decides each row, as target or against it.",
        states,
        dominating,
        [7, 7, 0, 1, 7, 2, 39, 3],
        tags=("seeded",),
    )
    yield make_linear(
        "linear_extremes/zero_hidden",
        "Hidden states of zeros: every class has the same probability, and the weight's gradient is 0.",
        np.zeros((8, 64)),
        weight,
        [0, 1, 19, 39, 2, 3, 4, 5],
    )
    yield make_linear(
        "linear_extremes/zero_weight",
        "A weight of zeros, as after an initialization: the gradient by the hidden state is 0.",
        states,
        np.zeros((40, 64)),
        [0, 1, 2, 3, 4, 5, 6, 39],
        tags=("seeded",),
    )
    yield make_linear(
        "linear_extremes/product_beyond_float16",
        "Features of 300 and weights of 300: each product lies beyond float16, the sum of two does not.",
        [[300.0, 300.0, 1.0], [300.0, 0.0, 1.0]],
        [[300.0, -300.0, 1.0], [0.0, 0.0, 2.0], [300.0, -299.0, 0.0]],
        [0, 1],
    )
    yield make_linear(
        "linear_extremes/logit_beyond_float16",
        "A logit of 90000 from numbers of 300: beyond float16, though the loss of its class is 0.",
        [[300.0, 1.0], [300.0, 1.0]],
        [[300.0, 0.0], [0.0, 1.0], [299.0, 0.0]],
        [0, 1],
    )
    yield make_linear(
        "linear_extremes/near_bfloat16_overflow",
        "Weights near the largest bfloat16 number with tiny features: the products are ordinary.",
        [[2.0**-120, 2.0**-126], [-(2.0**-124), 2.0**-122]],
        [[2.0**126, -(2.0**126)], [2.0**125, 2.0**127], [-(2.0**126), 2.0**124]],
        [0, 2],
    )
    yield make_linear(
        "linear_extremes/tiny_gradient",
        "A sure target: derivatives of e^-15 times features of 2^-6 are subnormal or 0 in float16.",
        [[1.0, 2.0**-6], [1.0, -(2.0**-6)]],
        [[15.0, 0.0], [0.0, 0.0], [-1.0, 0.0]],
        [0, 0],
        tags=("near-zero",),
    )
    yield make_linear(
        "linear_extremes/filtered_gradient",
        "5000 derivatives of 1/5000 beside one near -1: together they are as large, and a kernel may skip them.",
        np.ones((1, 4)),
        np.vstack([np.linspace(-0.5, 0.5, 20_000).reshape(5000, 4) / 8 + 1.0]),
        [0],
    )
    masked = np.zeros(40)
    masked[[3, 11]] = -INF
    yield make_linear(
        "linear_extremes/masked_by_bias",
        "A bias of -inf masks two classes: their probabilities and gradients are 0.",
        states,
        weight,
        [0, 1, 2, 4, 5, 6, 7, 39],
        bias=masked,
        tags=("seeded",),
    )
    yield make_linear(
        "linear_extremes/nan_row",
        "A NaN in one hidden state: its row is NaN, the other rows' losses are not.",
        np.vstack([states[:2], np.full((1, 64), np.nan), states[3:]]),
        weight,
        np.arange(8),
        tags=("seeded",),
    )
