"""TensorFlow's losses of hidden states, on computed logits."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from ...core.vocabulary import Problem
from .._batch import Implementation
from ._batch import LinearBatch

Tensor = Any
Loss = Callable[..., Tensor]


def of_logits(loss: Loss) -> Loss:
    """Return the loss of the logits ``hidden @ weight.T + bias``, which are rounded to the dtype."""

    def linear(
        hidden: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None, **options: Any
    ) -> Tensor:
        logits = tf.matmul(hidden, weight, transpose_b=True)
        return loss(logits if bias is None else tf.nn.bias_add(logits, bias), targets, **options)

    return linear


def implementations(losses: Mapping[str, tuple[str, Loss]]) -> tuple[Implementation, ...]:
    """Return the implementations, given the formula and the loss of logits of each name."""
    return tuple(
        Implementation(f"tensorflow/{name}[linear]", formula, of_logits(loss), "tensorflow", problem=Problem.LINEAR)
        for name, (formula, loss) in losses.items()
    )


def evaluate(
    implementation: Implementation, batch: LinearBatch, reduce: Callable[[Tensor, str], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Yield loss and gradients on the current device."""
    leaves = {name: tf.constant(array) for name, array in batch.leaves.items()}
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        rows = implementation.loss(**leaves, targets=tf.constant(batch.targets), **batch.keywords)
        loss = reduce(rows, batch.reduction)
    yield "loss", loss
    gradients = tape.gradient(loss, leaves)
    yield from ((f"gradient_{name}", tf.convert_to_tensor(gradients[name])) for name in leaves)
