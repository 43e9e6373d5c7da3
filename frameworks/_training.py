"""A step of gradient descent on a small classifier: its interface, and the step in NumPy for gradients by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._batch import Implementation

Array = Any
Numbers = NDArray[Any]


class Step(NamedTuple):
    """The result of one step: the new weights, and the batch's mean loss, its gradient and the logits."""

    weights: tuple[Array, ...]
    loss: Array
    gradient: tuple[Array, ...]
    logits: Array


@dataclass(frozen=True)
class Training:
    """The training of a framework. Arrays are the framework's own.

    Attributes:
        step: takes an implementation, the weights (inputs, outputs) and bias (outputs,) of each layer in turn, images
            (B, inputs), labels (B,) and a learning rate; returns a `Step`. Hidden layers have a ReLU.
        losses: the names of the implementations to train with.
        mode: the mode that the step runs in.
        prepare: sets up the process for the steps, once.
    """

    step: Callable[[Implementation, tuple[Array, ...], Array, Array, Array], Step]
    losses: tuple[str, ...]
    mode: str = "eager"
    prepare: Callable[[], object] = lambda: None


def at_least_float32(values: Numbers) -> Numbers:
    return values.astype(np.promote_types(values.dtype, np.float32))


def step_by_hand(
    implementation: Implementation, weights: tuple[Numbers, ...], images: Numbers, labels: Numbers, rate: Numbers
) -> Step:
    """Return a step computed in NumPy, with the backward pass written out."""
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    *hidden, (last, last_bias) = layers
    inputs = [images]
    for w, b in hidden:
        inputs.append(np.maximum(inputs[-1] @ w + b, 0))
    logits = inputs[-1] @ last + last_bias

    loss = at_least_float32(implementation.loss(logits, labels)).mean().astype(logits.dtype)
    assert implementation.gradient is not None  # noqa: S101 - for the type checker: `Training.losses` have one
    slope = implementation.gradient(logits, labels) / logits.dtype.type(len(labels))
    gradient: list[Numbers] = []
    for i in reversed(range(len(layers))):
        x, (w, _) = inputs[i], layers[i]
        gradient[:0] = [x.T @ slope, at_least_float32(slope).sum(axis=0).astype(slope.dtype)]
        if i > 0:
            # Not a product with zeros and ones, since 0 times an infinite slope is NaN.
            slope = np.where(x > 0, slope @ w.T, slope.dtype.type(0))
    return Step(tuple(w - rate * g for w, g in zip(weights, gradient, strict=True)), loss, tuple(gradient), logits)
