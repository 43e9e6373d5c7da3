"""NumPy: one step of gradient descent, its backward pass written out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...frameworks import Implementation
from ...frameworks.numpy import FRAMEWORK, at_least_float32

__all__ = ["FRAMEWORK", "step"]

Array = NDArray[Any]


def step(
    implementation: Implementation, weights: tuple[Array, ...], images: Array, labels: Array, rate: Array
) -> tuple[tuple[Array, ...], Array, tuple[Array, ...], Array]:
    """New weights, mean loss, its gradient and the logits."""
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    *hidden, (last, last_bias) = layers
    inputs = [images]
    for w, b in hidden:
        inputs.append(np.maximum(inputs[-1] @ w + b, 0))
    logits = inputs[-1] @ last + last_bias

    loss = at_least_float32(implementation.loss(logits, labels)).mean().astype(logits.dtype)
    assert implementation.gradient is not None  # noqa: S101 - NumPy's formulas have one; it is for the type checker
    slope = implementation.gradient(logits, labels) / logits.dtype.type(len(labels))
    gradient: list[Array] = []
    for i in reversed(range(len(layers))):
        x, (w, _) = inputs[i], layers[i]
        gradient[:0] = [x.T @ slope, at_least_float32(slope).sum(axis=0).astype(slope.dtype)]
        if i > 0:
            # Not a product with zeros and ones: an infinite slope would become NaN where the unit is off.
            slope = np.where(x > 0, slope @ w.T, slope.dtype.type(0))
    return tuple(w - rate * g for w, g in zip(weights, gradient, strict=True)), loss, tuple(gradient), logits
