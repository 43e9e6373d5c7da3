"""What an implementation does with a target that is none of the classes: in words, since no answer is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..oracle import reference


def told(losses: NDArray[Any], logits: NDArray[Any], targets: NDArray[Any]) -> list[str]:
    """For each row (B,) of losses that came back: what its number is, empty for a row whose target is a class.

    A number is recognised where it is the loss of another class to three digits, as every dtype has them.
    """
    values, classes = losses.astype(np.float64), logits.shape[1]
    every = [reference(logits, np.full(len(logits), c)).loss.hi for c in range(classes)]
    of_class = np.stack(every, axis=1)
    return [
        "" if 0 <= target < classes else _row(float(value), of_row, int(target))
        for value, of_row, target in zip(values, of_class, targets, strict=True)
    ]


def _row(value: float, of_class: NDArray[np.float64], target: int) -> str:
    if np.isnan(value):
        return f"target {target} gave NaN"
    if np.isinf(value):
        return f"target {target} gave {value}"
    if value == 0:
        return f"target {target} gave 0, as if the row were ignored"
    alike = np.flatnonzero(np.abs(of_class - value) <= 5e-3 * np.abs(of_class))
    if alike.size == 0:
        return f"target {target} gave {value:.4g}, the loss of no class"
    found, classes = int(alike[0]), len(of_class)
    if -classes <= target < 0 and found == target + classes:
        return f"target {target} was read from the end: the loss of class {found}"
    return f"target {target} gave the loss of class {found}"
