"""A step of gradient descent on a small classifier, as a framework takes it, and NumPy's for gradients by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._batch import Implementation

Array = Any
Numbers = NDArray[Any]


class Step(NamedTuple):
    """What one step made: the new weights, and of its batch the mean loss, its gradient and the logits."""

    weights: tuple[Array, ...]
    loss: Array
    gradient: tuple[Array, ...]
    logits: Array


@dataclass(frozen=True)
class Training:
    """How a framework trains. Its arrays are its own.

    Attributes:
        step: an implementation, the weights (inputs, outputs) and bias (outputs,) of each layer in turn, images
            (B, inputs), labels (B,) and a learning rate to a step. Hidden layers have a ReLU.
        losses: the names of the implementations that are trained.
        mode: how the step is run.
        prepare: sets what a step needs in its process, once.
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
    """A step in NumPy, its backward pass written out."""
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
            # Not a product with zeros and ones: an infinite slope would become NaN where the unit is off.
            slope = np.where(x > 0, slope @ w.T, slope.dtype.type(0))
    return Step(tuple(w - rate * g for w, g in zip(weights, gradient, strict=True)), loss, tuple(gradient), logits)
