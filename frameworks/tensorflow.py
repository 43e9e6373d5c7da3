"""TensorFlow: the formulas written in it, its built-in losses and Keras's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

# Before the import: afterwards TensorFlow no longer looks. Its notes on CPU instructions are not results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

from ._protocol import Batch, Implementation

Tensor = Any


def pick(values: Tensor, targets: Tensor) -> Tensor:
    return tf.gather(values, targets, axis=1, batch_dims=1)


def onehot(indices: Tensor, like: Tensor) -> Tensor:
    return tf.one_hot(indices, tf.shape(like)[1], dtype=like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Tensor) -> Tensor:
    e = tf.exp(logits)
    return e / tf.reduce_sum(e, axis=1, keepdims=True)


def naive(logits: Tensor, targets: Tensor) -> Tensor:
    return -tf.math.log(pick(naive_probabilities(logits), targets))


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Tensor, targets: Tensor) -> Tensor:
    m = tf.reduce_max(logits, axis=1, keepdims=True)
    s = tf.reduce_sum(tf.exp(logits - m), axis=1)
    return m[:, 0] + tf.math.log(s) - pick(logits, targets)


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------

HALF_SCALE = 2.0**32
SCALE = HALF_SCALE**2


def at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)


def _log1p_terms(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    i = tf.argmax(x, axis=1)
    m = pick(x, i)
    # 2^64 exp(x - m), squared from its half: where subnormals are flushed to zero, terms each too small to be kept
    # would be missing from a sum that is not.
    scaled = (HALF_SCALE * tf.exp((x - m[:, None]) / 2)) ** 2
    # The maximum's term is exactly SCALE; without it the sum of the others is left, or NaN if the row has one.
    others = tf.reduce_sum(scaled - SCALE * onehot(i, x), axis=1)
    return i, m, scaled / SCALE, others / SCALE


@tf.custom_gradient  # type: ignore[untyped-decorator]
def log1p(logits: Tensor, targets: Tensor) -> Tensor:
    x = at_least_float32(logits)
    i, m, e, others = _log1p_terms(x)

    def backward(upstream: Tensor) -> tuple[Tensor, None]:
        total = 1 + others
        # At the target p - 1 would cancel: it is minus the share of the others, summed without the target.
        rest = tf.where(targets == i, others, total - pick(e, targets))
        at_target = onehot(targets, e) == 1
        gradient = tf.where(at_target, -(rest / total)[:, None], e / total[:, None])
        return tf.cast(gradient * tf.cast(upstream, e.dtype)[:, None], logits.dtype), None

    return tf.cast(tf.math.log1p(others) + (m - pick(x, targets)), logits.dtype), backward


def log1p_probabilities(logits: Tensor) -> Tensor:
    _, _, e, others = _log1p_terms(at_least_float32(logits))
    return tf.cast(e / (1 + others)[:, None], logits.dtype)


# --- built-in ---------------------------------------------------------------------------------------------------


def sparse(logits: Tensor, targets: Tensor) -> Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def dense(logits: Tensor, targets: Tensor) -> Tensor:
    return tf.nn.softmax_cross_entropy_with_logits(labels=onehot(targets, logits), logits=logits)


def keras_from_logits(logits: Tensor, targets: Tensor) -> Tensor:
    return tf.keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)


def keras_from_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    return tf.keras.losses.sparse_categorical_crossentropy(targets, tf.nn.softmax(logits))


KERAS = "keras.losses.sparse_categorical_crossentropy"


class TensorflowFramework:
    """TensorFlow, eager, on the CPU and the GPUs it finds."""

    name = "tensorflow"
    implementations = (
        Implementation("tensorflow/naive", "naive", naive, "tensorflow", probabilities=naive_probabilities),
        Implementation("tensorflow/lse", "lse", lse, "tensorflow"),
        Implementation("tensorflow/log1p", "log1p", log1p, "tensorflow", probabilities=log1p_probabilities),
        Implementation("tensorflow/nn.sparse_softmax_cross_entropy_with_logits", "builtin", sparse, "tensorflow"),
        Implementation("tensorflow/nn.softmax_cross_entropy_with_logits", "builtin", dense, "tensorflow"),
        Implementation(f"tensorflow/{KERAS}[from_logits]", "builtin", keras_from_logits, "keras"),
        Implementation(
            f"tensorflow/{KERAS}", "builtin", keras_from_probabilities, "keras", probabilities=tf.nn.softmax
        ),
    )

    def devices(self) -> tuple[str, ...]:
        return ("cpu", "cuda") if tf.config.list_physical_devices("GPU") else ("cpu",)

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        with tf.device({"cuda": "GPU:0"}.get(device, "CPU:0")):
            x, t = tf.constant(batch.logits), tf.constant(batch.targets)
            if implementation.probabilities is not None:
                yield "probabilities", implementation.probabilities(x).numpy()
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = _reduce(implementation.loss(x, t), batch.reduction)
            yield "loss", loss.numpy()
            if implementation.differentiable:
                yield "gradient", tf.convert_to_tensor(tape.gradient(loss, x)).numpy()

    def unsupported(self, error: Exception) -> bool:
        # "Could not find device for node", "Value for attr 'T' ... is not in the list of allowed values" and so on.
        lacks = (tf.errors.UnimplementedError, tf.errors.NotFoundError)
        return isinstance(error, lacks) or "not in the list of allowed values" in str(error)


def _reduce(rows: Tensor, reduction: str) -> Tensor:
    return {"none": tf.identity, "mean": tf.reduce_mean, "sum": tf.reduce_sum}[reduction](rows)


FRAMEWORK = TensorflowFramework()
