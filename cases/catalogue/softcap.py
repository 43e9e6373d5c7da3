"""A softcap far from the logits: where tanh is flat, where it is a line, and where a mask is capped too."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "saturated"
INF = float("inf")


def cases() -> Iterator[Case]:
    yield make(
        "softcap/saturated",
        "Logits of ten and more caps: 1 - tanh^2 is 0 in float32, and the gradient has the factor 4 exp(-2 |z| / cap).",
        [[300.0, -250.0, 150.0], [-100.0, 200.0, 120.0]],
        [1, 0],
        softcap=10.0,
    )
    yield make(
        "softcap/half_saturated",
        "Logits of four to eight caps: 1 - tanh^2 has lost some digits in float32, and all of them in 16 bits.",
        [[32.0, -16.0, 20.0], [-18.0, 24.0, 4.0]],
        [1, 2],
        softcap=4.0,
    )
    yield make(
        "softcap/far_above",
        "A cap ten thousand times the logits: it changes them by less than float32 holds.",
        [[1.5, -0.25, 0.5], [-2.0, 3.0, 0.125]],
        [0, 2],
        softcap=30000.0,
    )
    yield make(
        "softcap/one_value",
        "All logits far above the cap: they become one number in every dtype, and the loss is log 3.",
        [[400.0, 300.0, 350.0], [-500.0, -400.0, -450.0]],
        [1, 2],
        softcap=5.0,
    )
    yield make(
        "softcap/masked",
        "A class masked before a cap of 2 has the logit -2 and a share of the probability; its gradient is 0.",
        [[-INF, 1.0, 2.0], [3.0, -INF, -1.0]],
        [1, 0],
        softcap=2.0,
    )
    yield make(
        "softcap/masked_target",
        "The target itself is masked before the cap: its loss is finite, and no gradient reaches it.",
        [[-INF, 1.0, 2.0], [3.0, -INF, -INF]],
        [0, 2],
        softcap=30.0,
    )
    yield make(
        "softcap/infinite_rows",
        "Rows of infinite logits under a cap: each logit becomes the cap or its negative, and the loss is finite.",
        [[-INF, -INF, -INF], [INF, -INF, INF]],
        [0, 1],
        softcap=2.0,
    )
    yield make(
        "softcap/overflowing_ratio",
        "Logits near float32's largest number over a cap of 1/2: the ratio overflows, and its tanh is 1.",
        [[3e38, -3e38, 0.25], [0.5, 3e38, -0.125]],
        [2, 0],
        softcap=0.5,
    )
    yield make(
        "softcap/scale_first",
        "A scale of 3 inside a cap of 5: a loss that caps first has logits of up to 15.",
        [[4.0, -1.0, 2.0], [0.5, -3.0, 1.0]],
        [2, 1],
        softcap=5.0,
        logit_scale=3.0,
    )
    yield make(
        "softcap/ignored_mean",
        "A capped mean over smoothed targets with an ignored row: the row counts in neither the sum nor the divisor.",
        [[60.0, -40.0, 25.0], [90.0, 90.0, -90.0], [-20.0, 35.0, 10.0]],
        [2, -100, 1],
        softcap=30.0,
        label_smoothing=0.125,
        ignore_index=-100,
        reduction="mean",
    )
