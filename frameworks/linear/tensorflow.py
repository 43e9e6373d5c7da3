"""TensorFlow's losses of hidden states, on computed logits."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import tensorflow as tf

from ...core.vocabulary import Problem
from .._batch import Implementation
from ._autograd import LinearAutograd, Pull
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


class TensorflowLinearAutograd(LinearAutograd):
    """Differentiation by a gradient tape."""

    def forward(
        self,
        loss: Loss,
        leaves: Mapping[str, Tensor],
        targets: Tensor,
        *,
        by: Collection[str],
        repeatedly: bool = False,
    ) -> tuple[Tensor, Pull]:
        watched = {name: leaves[name] for name in by}
        with tf.GradientTape(persistent=repeatedly) as tape:
            tape.watch(watched)
            result = loss(**leaves, targets=targets)

        def pull(upstream: Tensor | None) -> dict[str, Tensor]:
            gradients = tape.gradient(result, watched, output_gradients=upstream)
            return {name: tf.convert_to_tensor(gradient) for name, gradient in gradients.items()}

        return result, pull


AUTOGRAD = TensorflowLinearAutograd()


def evaluate(
    implementation: Implementation, batch: LinearBatch, reduce: Callable[[Tensor, str], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Yield loss and gradients on the current device."""
    leaves = {name: tf.constant(array) for name, array in batch.leaves.items()}

    def reduced(**given: Tensor) -> Tensor:
        return reduce(implementation.loss(**given, **batch.keywords), batch.reduction)

    loss, pull = AUTOGRAD.forward(reduced, leaves, tf.constant(batch.targets), by=tuple(leaves))
    yield "loss", loss
    yield from ((f"gradient_{name}", gradient) for name, gradient in pull(None).items())
