"""Cross-entropy in pure Python, with the exactly rounded sum of `math.fsum`, as a framework for LogitLab.

The loss is computed in Python's float64 and rounded to the dtype of the logits at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logitlab.frameworks import Batch, Framework, Implementation

Array = NDArray[Any]


def exponentials(row: Sequence[float]) -> list[float]:
    """Return exp(x - max x), which cannot overflow."""
    m = max(row)
    return [math.exp(x - m) for x in row]


def loss(logits: Array, targets: Array) -> Array:
    """Return the row losses (B,) of logits (B, C) and integer targets (B,)."""

    def of(row: list[float], target: int) -> float:
        m = max(row)
        # The maximum's own term is 1. log1p adds it, because a sum with 1 loses the digits of small terms.
        others = exponentials(row)
        del others[row.index(m)]
        return math.log1p(math.fsum(others)) + (m - row[target])

    return np.array([of(r, t) for r, t in zip(logits.tolist(), targets.tolist(), strict=True)], logits.dtype)


def gradient(logits: Array, targets: Array) -> Array:
    """Return the gradient (B, C) of the summed row losses: softmax, minus 1 at the target."""

    def of(row: list[float], target: int) -> list[float]:
        e = exponentials(row)
        s = math.fsum(e)
        # At the target, p - 1 would cancel. The gradient there is minus the share of the other classes.
        others = math.fsum(v for j, v in enumerate(e) if j != target)
        return [-others / s if j == target else v / s for j, v in enumerate(e)]

    return np.array([of(r, t) for r, t in zip(logits.tolist(), targets.tolist(), strict=True)], logits.dtype)


class ExampleFramework(Framework):
    """Python on the CPU.

    The arrays are NumPy's, and the gradient is written by hand. So the defaults of `Framework` fit, and ``check``,
    ``explain``, ``hunt`` and ``train-demo`` need nothing more.
    """

    name = "example"
    # A built-in loss is one entry here. Its function declares the options it supports as keyword arguments.
    implementations = (
        Implementation("example/math.fsum", "builtin", loss, package="logitlab_example", gradient=gradient),
    )

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, Array]]:
        logits = batch.in_memory()
        if implementation.reduces:  # a loss given to `check` may compute means and sums itself
            yield "loss", implementation.loss(logits, batch.targets, reduction=batch.reduction, **batch.options)
        else:
            yield "loss", reduced(implementation.loss(logits, batch.targets, **batch.options), batch.reduction)
        if implementation.gradient is not None:
            slopes = implementation.gradient(logits, batch.targets)
            yield "gradient", slopes / slopes.dtype.type(len(slopes) if batch.reduction == "mean" else 1)


def reduced(rows: Array, reduction: str) -> Array:
    """Return the row losses (B,), or their mean or sum, which a loss that returns rows leaves to its caller."""
    if reduction == "none":
        return rows
    total = math.fsum(rows.tolist())
    return np.array(total / len(rows) if reduction == "mean" else total, rows.dtype)


FRAMEWORK = ExampleFramework()
