"""One logit far above the other, the target on either side."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "20_high"
GAPS = (5, 10, 12, 17, 20, 50, 90, 100, 104, 200, 500, 750, 1000, 2000)


def cases() -> Iterator[Case]:
    for gap in GAPS:
        yield make(
            f"gap/{gap}_low",
            f"The target lies {gap} below the maximum: its probability is e^-{gap} and the loss {gap}.",
            [[float(gap), 0.0], [0.0, -float(gap)]],
            [1, 1],
        )
        yield make(
            f"gap/{gap}_high",
            f"The target lies {gap} above the other: the loss is e^-{gap}, most of it below a rounding of 1.",
            [[float(gap), 0.0], [0.0, -float(gap)]],
            [0, 0],
            tags=("near-zero",),
        )
