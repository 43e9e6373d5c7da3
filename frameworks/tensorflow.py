"""TensorFlow: the formulas written in it, its built-in losses and Keras's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Before the import: afterwards TensorFlow no longer looks. Its notes on CPU instructions are not results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

from ._protocol import Batch, Implementation
from .stages import Operations

# Other frameworks may use the same accelerator, of whose memory TensorFlow would take all.
for _accelerator in tf.config.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(_accelerator, enable=True)

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
        rest = tf.where(tf.cast(targets, i.dtype) == i, others, total - pick(e, targets))
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
    return tf.nn.softmax_cross_entropy_with_logits(labels=_labels(logits, targets), logits=logits)


# As users write it: a scale is no option of the function, and XLA fuses its product into the function's loops.
def nn_log_softmax(logits: Tensor, targets: Tensor, logit_scale: float | None = None) -> Tensor:
    scaled = logits if logit_scale is None else logits * logit_scale
    return -pick(tf.nn.log_softmax(scaled), targets)


def _labels(logits: Tensor, targets: Tensor) -> Tensor:
    soft = targets.dtype.is_floating
    return targets if soft else tf.one_hot(targets, tf.shape(logits)[-1], dtype=logits.dtype)


# Keras calls the index that is ignored ignore_class.
def keras_from_logits(logits: Tensor, targets: Tensor, ignore_index: int | None = None) -> Tensor:
    return tf.keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True, ignore_class=ignore_index)


def keras_from_probabilities(logits: Tensor, targets: Tensor, ignore_index: int | None = None) -> Tensor:
    return tf.keras.losses.sparse_categorical_crossentropy(targets, tf.nn.softmax(logits), ignore_class=ignore_index)


def keras_dense_from_logits(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    return tf.keras.losses.categorical_crossentropy(
        _labels(logits, targets), logits, from_logits=True, label_smoothing=label_smoothing
    )


def keras_dense_from_probabilities(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    return tf.keras.losses.categorical_crossentropy(
        _labels(logits, targets), tf.nn.softmax(logits), label_smoothing=label_smoothing
    )


# The objects as they are called: without a dtype they cast what they are given to Keras's floatx, float32.
def keras_object_from_logits(
    logits: Tensor, targets: Tensor, *, reduction: str, ignore_index: int | None = None
) -> Tensor:
    loss = tf.keras.losses.SparseCategoricalCrossentropy(True, ignore_index, reduction)
    return loss(targets, logits)


def keras_object_from_probabilities(
    logits: Tensor, targets: Tensor, *, reduction: str, ignore_index: int | None = None
) -> Tensor:
    loss = tf.keras.losses.SparseCategoricalCrossentropy(ignore_class=ignore_index, reduction=reduction)
    return loss(targets, tf.nn.softmax(logits))


def keras_dense_object_from_logits(
    logits: Tensor, targets: Tensor, *, reduction: str, label_smoothing: float = 0.0
) -> Tensor:
    loss = tf.keras.losses.CategoricalCrossentropy(True, label_smoothing, reduction=reduction)
    return loss(_labels(logits, targets), logits)


def keras_dense_object_from_probabilities(
    logits: Tensor, targets: Tensor, *, reduction: str, label_smoothing: float = 0.0
) -> Tensor:
    loss = tf.keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing, reduction=reduction)
    return loss(_labels(logits, targets), tf.nn.softmax(logits))


MODES, PLAIN_MODES = ("eager", "graph", "compiled"), ("compiled",)

# TensorFlow documents of its dense losses that each row of labels is a probability distribution, and computes the
# gradient as softmax less labels, which is right for no other.
DISTRIBUTION = {"soft": True, "normalized": True}
FROM_PROBABILITIES = {"probabilities": tf.nn.softmax}


def _formula(name: str, loss: Callable[..., Tensor], probabilities: Callable[..., Tensor] | None) -> Implementation:
    return Implementation(
        f"tensorflow/{name}", name, loss, "tensorflow", probabilities, modes=MODES, plain_modes=PLAIN_MODES
    )


def _builtin(name: str, loss: Any, **more: Any) -> Implementation:
    package = "keras" if name.startswith("keras") else "tensorflow"
    documented: dict[str, Any] = {"class_axis": -1, "modes": MODES, "plain_modes": PLAIN_MODES}
    return Implementation(f"tensorflow/{name}", "builtin", loss, package, **(documented | more))


def _keras(name: str, loss: Any, **more: Any) -> Implementation:
    return _builtin(f"keras.losses.{name}", loss, **more)


class TensorflowFramework:
    """TensorFlow, on the CPU and the GPUs it finds."""

    name = "tensorflow"
    implementations = (
        _formula("naive", naive, naive_probabilities),
        _formula("lse", lse, None),
        _formula("log1p", log1p, log1p_probabilities),
        _builtin("nn.sparse_softmax_cross_entropy_with_logits", sparse),
        _builtin("nn.softmax_cross_entropy_with_logits", dense, **DISTRIBUTION),
        _builtin("nn.log_softmax", nn_log_softmax, class_axis=None),
        _keras("sparse_categorical_crossentropy[from_logits]", keras_from_logits),
        _keras("sparse_categorical_crossentropy", keras_from_probabilities, **FROM_PROBABILITIES),
        _keras("categorical_crossentropy[from_logits]", keras_dense_from_logits, **DISTRIBUTION),
        _keras("categorical_crossentropy", keras_dense_from_probabilities, **FROM_PROBABILITIES, **DISTRIBUTION),
        _keras("SparseCategoricalCrossentropy[from_logits]", keras_object_from_logits, reduces=True),
        _keras("SparseCategoricalCrossentropy", keras_object_from_probabilities, reduces=True, **FROM_PROBABILITIES),
        _keras("CategoricalCrossentropy[from_logits]", keras_dense_object_from_logits, reduces=True, **DISTRIBUTION),
        _keras(
            "CategoricalCrossentropy",
            keras_dense_object_from_probabilities,
            reduces=True,
            **FROM_PROBABILITIES,
            **DISTRIBUTION,
        ),
    )

    def settings(self) -> dict[str, str]:
        # TensorFlow tells it in a log line and nowhere in its public interface.
        from tensorflow.python.util import _pywrap_util_port as port  # noqa: PLC0415

        half = (tf.constant(np.finfo(np.float32).tiny) / 2).numpy()
        return {
            "threads": str(tf.config.threading.get_intra_op_parallelism_threads() or "one a core"),
            "oneDNN": "on" if port.IsMklEnabled() else "off",
            "TF32": "on" if tf.config.experimental.tensor_float_32_execution_enabled() else "off",
            "subnormals": "kept" if half else "flushed to zero",
        }

    def devices(self) -> tuple[str, ...]:
        return ("cpu", "cuda") if tf.config.list_physical_devices("GPU") else ("cpu",)

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        with tf.device(_place(device)):
            x, t = tf.constant(batch.in_memory()), tf.constant(batch.targets)
            if implementation.probabilities is not None:
                yield "probabilities", _traced(implementation.probabilities, mode)(x).numpy()
            if mode != "eager":
                loss, gradient = _program(implementation, batch, mode)(x, t)
                yield "loss", loss.numpy()
                yield "gradient", gradient.numpy()
                return
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = _forward(implementation, batch, x, t)
            yield "loss", loss.numpy()
            yield "gradient", tf.convert_to_tensor(tape.gradient(loss, x)).numpy()

    @property
    def operations(self) -> Operations:
        return OPERATIONS

    def unsupported(self, error: Exception) -> bool:
        # "Could not find device for node", "Value for attr 'T' ... is not in the list of allowed values" and so on.
        lacks = (tf.errors.UnimplementedError, tf.errors.NotFoundError)
        return isinstance(error, lacks) or "not in the list of allowed values" in str(error)


def _place(device: str) -> str:
    return {"cuda": "GPU:0"}.get(device, "CPU:0")


def _forward(implementation: Implementation, batch: Batch, logits: Tensor, targets: Tensor) -> Tensor:
    shaped = batch.spatial(logits, targets, implementation.class_axis)
    if implementation.reduces:
        loss = implementation.loss(*shaped, reduction=batch.reduction, **batch.options)
        # Keras leaves the losses of no rows unreduced; of one number the sum is that number.
        return tf.reshape(loss, [-1]) if batch.reduction == "none" else tf.reduce_sum(loss)
    return _reduce(tf.reshape(implementation.loss(*shaped, **batch.options), [-1]), batch.reduction)


def _reduce(rows: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return rows
    # The losses here leave it to the caller. tf.reduce_mean of float16 sums in float16, and would be all that is seen.
    wide = at_least_float32(rows)
    return tf.cast(tf.reduce_mean(wide) if reduction == "mean" else tf.reduce_sum(wide), rows.dtype)


def _program(implementation: Implementation, batch: Batch, mode: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """Loss and gradient in one function, as a training step has them."""
    if batch.options or batch.layout == "spatial":
        return _step(implementation, batch, mode)
    return _plain_step(implementation, batch.reduction, mode)


@cache
def _plain_step(implementation: Implementation, reduction: str, mode: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """Kept, so that each shape of the catalogue's many plain batches is traced once."""
    nothing = np.empty((0, 0))
    return _step(implementation, Batch(nothing, nothing, reduction), mode)


def _step(implementation: Implementation, batch: Batch, mode: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def both(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = _forward(implementation, batch, logits, targets)
        return loss, tf.convert_to_tensor(tape.gradient(loss, logits))

    return _traced(both, mode)


@cache
def _traced(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """A graph for each shape, and with XLA a program: one for all would be one that the first shapes had shaped."""
    if mode == "eager":
        return function
    traced: Callable[..., Any] = tf.function(function, jit_compile=mode == "compiled", reduce_retracing=False)
    return traced


# What `logitlab explain` follows the formulas with, in the order in which the backward pass rounds.
OPERATIONS = Operations(
    exp=tf.exp,
    log=tf.math.log,
    log1p=tf.math.log1p,
    where=tf.where,
    zeros_like=tf.zeros_like,
    max=lambda x: tf.reduce_max(x, axis=1, keepdims=True),
    sum=lambda x: tf.reduce_sum(x, axis=1, keepdims=True),
    sum_slopes=lambda x: tf.reduce_sum(x, axis=1, keepdims=True),
    argmax=lambda x: tf.argmax(x, axis=1),
    pick=pick,
    onehot=onehot,
    at_least_float32=at_least_float32,
    cast=lambda x, like: tf.cast(x, like.dtype),
    # Not d / x: TensorFlow's vectorized reciprocal is another number.
    log_slope=lambda d, x: d * tf.math.reciprocal(x),
    quotient_slope=lambda d, e, s, p: d * (-e / s / s),
    quotient_text="dp * (-e / s / s)",
    share=lambda d, x, m: tf.cast(x == m, x.dtype) / tf.reduce_sum(tf.cast(x == m, x.dtype), axis=1, keepdims=True) * d,
    add_slopes=lambda shift, at_max, target: -target + shift + at_max,
    placed=lambda device: tf.device(_place(device)),
    load=lambda x, device: tf.constant(x),
    dump=lambda x: x.numpy(),
)

FRAMEWORK = TensorflowFramework()
