"""Cross-entropy in pure Python, with the exactly rounded sum of `math.fsum`, as a framework for LogitLab.

It is computed in Python's float64 and rounded to the logits' dtype at the end.
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
    """exp(x - max x), so that none overflows."""
    m = max(row)
    return [math.exp(x - m) for x in row]


def loss(logits: Array, targets: Array) -> Array:
    """Logits (B, C) and integer targets (B,) to the row losses (B,)."""

    def of(row: list[float], target: int) -> float:
        m = max(row)
        # The maximum's own term is 1, and log1p adds it: the digits of smaller terms would be lost in a sum with it.
        others = exponentials(row)
        del others[row.index(m)]
        return math.log1p(math.fsum(others)) + (m - row[target])

    return np.array([of(r, t) for r, t in zip(logits.tolist(), targets.tolist(), strict=True)], logits.dtype)


def gradient(logits: Array, targets: Array) -> Array:
    """The gradient (B, C) of the summed row losses: softmax, less 1 at the target."""

    def of(row: list[float], target: int) -> list[float]:
        e = exponentials(row)
        s = math.fsum(e)
        # At the target p - 1 would cancel: it is minus the share of the others.
        others = math.fsum(v for j, v in enumerate(e) if j != target)
        return [-others / s if j == target else v / s for j, v in enumerate(e)]

    return np.array([of(r, t) for r, t in zip(logits.tolist(), targets.tolist(), strict=True)], logits.dtype)


class ExampleFramework(Framework):
    """Python itself, on the CPU.

    Its arrays are NumPy's, and its gradient is written by hand. The defaults of `Framework` fit, and ``check``,
    ``explain``, ``hunt`` and ``train-demo`` need nothing more.
    """

    name = "example"
    # A built-in loss is one entry here. The function takes the loss options that it has as keywords, this one none.
    implementations = (
        Implementation("example/math.fsum", "builtin", loss, package="logitlab_example", gradient=gradient),
    )

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, Array]]:
        logits = batch.in_memory()
        if implementation.reduces:  # a loss that is checked may take means and sums itself
            yield "loss", implementation.loss(logits, batch.targets, reduction=batch.reduction, **batch.options)
        else:
            yield "loss", reduced(implementation.loss(logits, batch.targets, **batch.options), batch.reduction)
        if implementation.gradient is not None:
            slopes = implementation.gradient(logits, batch.targets)
            yield "gradient", slopes / slopes.dtype.type(len(slopes) if batch.reduction == "mean" else 1)


def reduced(rows: Array, reduction: str) -> Array:
    """The row losses (B,) as they are, or their mean or sum, as a loss that returns rows leaves it to its caller."""
    if reduction == "none":
        return rows
    total = math.fsum(rows.tolist())
    return np.array(total / len(rows) if reduction == "mean" else total, rows.dtype)


FRAMEWORK = ExampleFramework()
