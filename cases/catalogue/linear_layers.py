"""Last layers of models: biases, tied rows, outlier channels, padded vocabularies, and loss options."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from .._linear_case import make_linear
from ._layers import layer

QUICK = "outlier_channel"


def cases() -> Iterator[Case]:
    yield from _layers()
    yield from _options()


def _layers() -> Iterator[Case]:
    states, weight = layer(8, 64, 40, seed=5)
    targets = np.arange(8) * 5 % 40
    generator = np.random.Generator(np.random.Philox(key=[5, 5]))
    for scale in (1.0, 50.0):
        yield make_linear(
            f"linear_layers/bias_s{scale:g}",
            f"A bias of scale {scale:g} beside logits of scale 1: added after the product it is rounded once more.",
            states, weight, targets, bias=scale * generator.standard_normal(40), tags=("seeded",),
        )  # fmt: skip
    yield make_linear(
        "linear_layers/tied_rows",
        "Each row of the weight twice: equal logits must have equal gradients.",
        states, np.vstack([weight[:20], weight[:20]]), targets, tags=("seeded",),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/all_rows_tied",
        "All rows of the weight equal: the gradient by the hidden state is exactly 0.",
        states, np.tile(weight[:1], (40, 1)), targets, tags=("seeded",),
    )  # fmt: skip
    outlier = states.copy()
    outlier[:, 9] = 60.0
    yield make_linear(
        "linear_layers/outlier_channel",
        "One channel 60 times as large as the others, as in language models: it sets the rounding of each logit.",
        outlier, weight, targets, tags=("seeded",),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/outlier_channels_cancel",
        "Two outlier channels of opposite sign and equal weights: logits of scale 1 from terms of scale 100.",
        np.hstack([states[:, :62], np.full((8, 1), 100.0), np.full((8, 1), -100.0)]),
        np.hstack([weight[:, :62], np.ones((40, 2))]), targets, tags=("seeded",),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/padded_vocabulary",
        "15 classes of zero weight that pad the vocabulary to 40: each has a share of the probability.",
        states, np.vstack([weight[:25], np.zeros((15, 64))]), targets % 25, tags=("seeded", "padding"),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/last_class",
        "Every target the last class of a vocabulary of 129: the remainder of a tile.",
        *layer(8, 63, 129, seed=6), [128] * 8, tags=("seeded",),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/one_row",
        "A batch of one row.",
        *layer(1, 64, 40, seed=7), [39], tags=("seeded",),
    )  # fmt: skip


def _options() -> Iterator[Case]:
    states, weight = layer(8, 64, 40, seed=8, spread=3.0)
    kept = np.array([0, 3, 0, 7, 39, 0, 3, 12])
    bias = np.linspace(-1.0, 1.0, 40)
    yield make_linear(
        "linear_layers/smoothing",
        "Label smoothing: every class has a share of the target.",
        states, weight, kept, bias=bias, label_smoothing=0.1, reduction="mean", tags=("seeded",),
    )  # fmt: skip
    shares = np.abs(layer(8, 40, 1, seed=9)[0])
    yield make_linear(
        "linear_layers/soft",
        "Class probabilities as targets: every class has a share.",
        states, weight, shares / shares.sum(axis=1, keepdims=True), reduction="mean", tags=("seeded",),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/class_weights",
        "Class weights from 0 to 2: a mean divides by those of the targets.",
        states, weight, kept, class_weight=np.linspace(0.0, 2.0, 40), reduction="mean", tags=("seeded",),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/softcap",
        "A softcap of 5 on logits of scale 3, as Gemma 2 has one.",
        states, weight, kept, bias=bias, softcap=5.0, tags=("seeded",),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/logit_scale",
        "A logit scale of 1/16, as Cohere's and Granite's models have one.",
        states, weight, kept, logit_scale=0.0625, tags=("seeded",),
    )  # fmt: skip
    yield make_linear(
        "linear_layers/z_loss",
        "A z-loss of 2^-10 under a mean: the squared logsumexp of each row is added.",
        states, weight, kept, z_loss=2.0**-10, reduction="mean", tags=("seeded",),
    )  # fmt: skip
