"""The article's batch: the three rows that started LogitLab."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "article"
LOGITS = [[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]]
TARGETS = [0, 2, 1]


def cases() -> Iterator[Case]:
    why = "The article's batch: exp(1000) overflows and the target's probability underflows in the middle row"
    yield make("seed/article", f"{why}.", LOGITS, TARGETS)
    yield make("seed/article_mean", f"{why}, and the mean spreads it.", LOGITS, TARGETS, reduction="mean")
    yield make("seed/article_sum", f"{why}, and the sum spreads it.", LOGITS, TARGETS, reduction="sum")
    yield make(
        "seed/mild_mean",
        "The article's two ordinary rows alone: where no loss should have trouble.",
        [LOGITS[0], LOGITS[2]],
        [TARGETS[0], TARGETS[2]],
        reduction="mean",
    )
