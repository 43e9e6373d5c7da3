"""TensorFlow: one step of gradient descent, a graph traced for each loss, model and dtype, without XLA."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ...frameworks import Implementation
from ...frameworks.tensorflow import FRAMEWORK, at_least_float32

__all__ = ["FRAMEWORK", "step"]

Tensor = Any

# Sums are taken in the same order each time.
tf.config.experimental.enable_op_determinism()


@tf.function  # type: ignore[untyped-decorator]
def step(
    implementation: Implementation, weights: tuple[Tensor, ...], images: Tensor, labels: Tensor, rate: Tensor
) -> tuple[tuple[Tensor, ...], Tensor, tuple[Tensor, ...], Tensor]:
    """New weights, mean loss, its gradient and the logits."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits = _forward(weights, images)
        loss = tf.cast(tf.reduce_mean(at_least_float32(implementation.loss(logits, labels))), logits.dtype)
    gradient = tape.gradient(loss, weights)
    return tuple(w - rate * g for w, g in zip(weights, gradient, strict=True)), loss, gradient, logits


def _forward(weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
    *hidden, (last, last_bias) = zip(weights[::2], weights[1::2], strict=True)
    for w, b in hidden:
        x = tf.nn.relu(x @ w + b)
    return x @ last + last_bias
