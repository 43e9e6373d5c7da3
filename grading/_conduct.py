"""Describe results without a grade: an ignored row without softmax, a mean over nothing, an invalid target.

The loss and the gradient of an ignored row are exactly 0, also if its logits are NaN or all ``-inf``. A mean over
nothing and an invalid target have no right answer.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.invalid_targets import InvalidTargetAnswer
from ..core.vocabulary import Conduct, Reach

Array = NDArray[Any]

SAME = 5e-3  # losses within this relative distance are the same: every dtype has three digits


def conduct(values: Array) -> Conduct:
    """Classify one row's loss () or gradient (C,) as NaN, infinity, a number or 0; NaN comes before infinity."""
    v = np.asarray(values).astype(np.float64)
    if np.isnan(v).any():
        return Conduct.NAN
    if np.isinf(v).any():
        return Conduct.INFINITY
    return Conduct.NUMBER if (v != 0).any() else Conduct.ZERO


def describe_ignored_row(loss: Conduct | None, gradient: Conduct | None) -> str:
    """Return two or three sentences on an ignored row. Pass None for a quantity that the loss does not return."""
    return f"The row is ignored: its loss and its gradient are exactly 0. {_sentences(loss, gradient)}".strip()


def describe_empty_mean(loss: Conduct | None, gradient: Conduct | None) -> str:
    """Return two or three sentences on the mean of a batch whose rows are all ignored."""
    return f"No row counts: a mean over nothing has no value and no grade. {_sentences(loss, gradient)}".strip()


def describe_reach(reached: Reach) -> str:
    """Return one sentence on NaN that spreads from an ignored row."""
    return f"NaN from the ignored row reaches {reached}."


def _sentences(loss: Conduct | None, gradient: Conduct | None) -> str:
    given = (("The loss", loss), ("The gradient", gradient))
    return " ".join(f"{name} {found.wording}." for name, found in given if found is not None)


def invalid_target_answers(losses: Array, logits: Array, targets: Array) -> list[InvalidTargetAnswer | None]:
    """Return a description of each row's loss (B,), None for a row whose target is a class."""
    x = logits.astype(np.float64)
    rows, top, classes = np.arange(len(x)), x.argmax(axis=1), x.shape[1]
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        below = x[rows, top][:, None] - x
        others = np.exp(-below)
        others[rows, top] = 0
        of_class = np.log1p(others.sum(axis=1))[:, None] + below
    return [
        None if 0 <= target < classes else _answer(float(value), of_row, int(target))
        for value, of_row, target in zip(losses.astype(np.float64), of_class, targets, strict=True)
    ]


def _answer(loss: float, of_class: NDArray[np.float64], target: int) -> InvalidTargetAnswer:
    same = np.flatnonzero(np.isfinite(of_class) & (np.abs(of_class - loss) <= SAME * np.abs(of_class)))
    if loss == 0 or same.size == 0:
        return InvalidTargetAnswer(target, loss)
    found = int(same[0])
    return InvalidTargetAnswer(target, loss, found, wraps=target < 0 and found == target + len(of_class))
