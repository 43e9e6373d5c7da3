"""Temperatures far from 1: scaled logits that overflow, vanish, or lose their digits."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "cold"


def cases() -> Iterator[Case]:
    yield make(
        "scaling/cold",
        "A temperature of 0.001: scaled logits of 80,000 overflow float16, and their differences do not.",
        [[80.0, 79.9375, 60.0], [-80.0, -79.75, -79.875]],
        [1, 2],
        logit_scale=1000.0,
    )
    yield make(
        "scaling/frozen",
        "A temperature of 1e-30: scaled logits near float32's largest number, and losses of 0 and 1e37.",
        [[2e7, 1e7, -1e7], [-1e7, 3e7, 2e7]],
        [0, 2],
        logit_scale=1e30,
    )
    yield make(
        "scaling/hot",
        "A temperature of 10,000: the distribution is nearly uniform, and the gradient has the factor 1e-4.",
        [[40.0, -30.0, 5.0], [-10.0, 60.0, 0.0]],
        [1, 0],
        logit_scale=1e-4,
    )
    yield make(
        "scaling/hot_extremes",
        "Logits of both signs near float32's largest number: their difference overflows, unless it is scaled first.",
        [[3e38, -3e38, 0.0], [-3e38, 3e38, 1e38]],
        [1, 0],
        logit_scale=2e-38,
    )
    yield make(
        "scaling/tiny_logits",
        "Logits of 1e-30 scaled by 1e30: nothing of them survives, unless they are scaled before they are added to.",
        [[2e-30, -1e-30, 0.5e-30], [1e-30, 1.5e-30, -3e-30]],
        [1, 2],
        logit_scale=1e30,
    )
    yield make(
        "scaling/offset",
        "A third of logits at an offset of 30,000: each product is rounded at the offset's size.",
        [[30000.0, 30016.0, 29984.0], [-30000.0, -29984.0, -30032.0]],
        [0, 2],
        logit_scale=1 / 3,
    )
    yield make(
        "scaling/masked",
        "A masked class and a scale: -inf stays -inf, and a mask of a large finite number is scaled.",
        [[float("-inf"), 3.0, 1.0], [2.0, -30000.0, 5.0]],
        [1, 0],
        logit_scale=0.125,
    )
    yield make(
        "scaling/smoothed_sum",
        "A sum over smoothed and weighted targets of scaled logits: the scale acts before the weights.",
        [[9.0, -4.0, 2.0], [-6.0, 1.0, 3.0]],
        [1, 2],
        logit_scale=1 / 0.7,
        label_smoothing=0.25,
        weight=[0.5, 2.0, 1.0],
        reduction="sum",
    )
