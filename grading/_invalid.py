"""What an implementation does with a target that is none of the classes, for which no answer is right."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.invalid_targets import InvalidTargetAnswer

SAME = 5e-3  # two losses this near, relative to the exact one, are the same: every dtype has three digits


def invalid_target_answers(
    losses: NDArray[Any], logits: NDArray[Any], targets: NDArray[Any]
) -> list[InvalidTargetAnswer | None]:
    """For each row (B,) what its loss is; None for a row whose target is a class."""
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
