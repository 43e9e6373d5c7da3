"""JAX: one step of gradient descent, compiled for each loss, model and dtype."""

from __future__ import annotations

from functools import partial

import jax
from jax import Array

from ...frameworks import Implementation
from ...frameworks.jax import FRAMEWORK, at_least_float32

__all__ = ["FRAMEWORK", "step"]


@partial(jax.jit, static_argnums=0)
def step(
    implementation: Implementation, weights: tuple[Array, ...], images: Array, labels: Array, rate: Array
) -> tuple[tuple[Array, ...], Array, tuple[Array, ...], Array]:
    """New weights, mean loss, its gradient and the logits."""

    def mean_loss(weights: tuple[Array, ...]) -> tuple[Array, Array]:
        logits = _forward(weights, images)
        return at_least_float32(implementation.loss(logits, labels)).mean().astype(logits.dtype), logits

    (loss, logits), gradient = jax.value_and_grad(mean_loss, has_aux=True)(weights)
    return tuple(w - rate * g for w, g in zip(weights, gradient, strict=True)), loss, gradient, logits


def _forward(weights: tuple[Array, ...], x: Array) -> Array:
    *hidden, (last, last_bias) = zip(weights[::2], weights[1::2], strict=True)
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ last + last_bias
