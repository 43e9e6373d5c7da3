"""Dot products that cancel: the terms of a logit or of a gradient are large and their sum is small."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from .._linear_case import make_linear
from ._layers import layer

QUICK = "alternating"


def cases() -> Iterator[Case]:
    signs = np.where(np.arange(64) % 2, -1.0, 1.0)
    states = np.vstack([64.0 * signs + 0.5, np.full(64, 64.0)])
    yield make_linear(
        "linear_cancellation/alternating",
        "Features of alternating sign and a constant weight: terms of 64 cancel down to logits of 1.",
        states,
        np.vstack([np.full(64, 1 / 32), np.full(64, 1 / 64), signs / 64, np.zeros(64)]),
        [0, 3],
    )
    yield make_linear(
        "linear_cancellation/large_pair",
        "Two features of 2048 that cancel beside one of 1: an accumulator of 11 bits or fewer loses the logit.",
        [[2048.0, 1.0, -2048.0], [2048.0, -2048.0, 1.0]],
        [[1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [0.5, 0.25, 0.5]],
        [0, 2],
    )
    yield make_linear(
        "linear_cancellation/to_nothing",
        "Logits whose terms cancel exactly: all classes are equal.",
        [[3.0, -5.0, 2.0], [1.5, 1.5, -3.0]],
        [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [-1.0, -1.0, -1.0]],
        [0, 1],
    )
    states, weight = layer(8, 64, 40, seed=3)
    yield make_linear(
        "linear_cancellation/common_offset",
        "A feature that adds 300 to every logit: rounded to bfloat16 logits have no fraction left.",
        np.hstack([states[:, :63], np.full((8, 1), 300.0)]),
        np.hstack([weight[:, :63], np.ones((40, 1))]),
        [0, 10, 20, 39, 1, 11, 21, 31],
        tags=("seeded", "offset"),
    )
    yield make_linear(
        "linear_cancellation/common_weight",
        "A weight with the same large row added to each class: the gradient by the hidden state cancels to the rest.",
        states,
        weight + 8.0 * np.sign(np.arange(64) % 2 - 0.5),
        [1, 11, 21, 31, 0, 10, 20, 39],
        tags=("seeded",),
    )
    twice = np.vstack([states[:4], -states[:4]])
    yield make_linear(
        "linear_cancellation/opposite_rows",
        "Rows and their negatives: the gradient by the weight is a sum of terms of both signs.",
        twice,
        weight,
        [5] * 8,
        reduction="sum",
        tags=("seeded",),
    )
    yield make_linear(
        "linear_cancellation/many_rows",
        "256 rows with one target: a running sum in the dtype loses the later rows of the weight's gradient.",
        np.tile(states, (32, 1)),
        weight,
        np.arange(256) % 8,
        reduction="mean",
        tags=("seeded",),
    )
