"""TensorFlow's differentiation of a loss by tapes, and second derivatives by nested ones."""

from typing import Any

import tensorflow as tf

from ._framework import Autograd, Loss, Pull
from ._transformed import Transformation, Transformed

Tensor = Any


class TensorflowAutograd(Autograd):
    """Differentiation by a gradient tape."""

    def forward(self, loss: Loss, logits: Tensor, targets: Tensor, *, repeatedly: bool) -> tuple[Tensor, Pull]:
        with tf.GradientTape(persistent=repeatedly) as tape:
            tape.watch(logits)
            rows = loss(logits, targets)
        return rows, lambda upstream: tf.convert_to_tensor(tape.gradient(rows, logits, output_gradients=upstream))

    def spread(self, rows: Tensor, number: float) -> Tensor:
        return tf.fill(tf.shape(rows), tf.cast(number, rows.dtype))


def _second(loss: Loss, logits: Tensor, targets: Tensor, direction: Tensor) -> dict[str, Tensor]:
    with tf.GradientTape() as outer:
        outer.watch(logits)
        with tf.GradientTape() as inner:
            inner.watch(logits)
            rows = loss(logits, targets)
        first = tf.convert_to_tensor(inner.gradient(rows, logits))
        # The other term stands for the rest of a training loss: with it, a gradient without a tape is not None.
        total = tf.reduce_sum(first * direction) + 0 * tf.reduce_sum(logits)
    return {"second": tf.convert_to_tensor(outer.gradient(total, logits))}


TRANSFORMED = {
    Transformation.SECOND: Transformed(
        _second,
        (
            "with tf.GradientTape() as outer:",
            "    outer.watch(x)",
            "    with tf.GradientTape() as inner:",
            "        inner.watch(x)",
            "        rows = {call}",
            "    first = tf.convert_to_tensor(inner.gradient(rows, x))",
            "    total = tf.reduce_sum(first * v) + 0 * tf.reduce_sum(x)",
            "second = outer.gradient(total, x)",
        ),
    ),
}
