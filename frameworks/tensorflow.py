"""TensorFlow: the formulas written in it, its built-in losses, and Keras's as ``tf.keras``."""

import os
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Set before the import, since TensorFlow reads it only once. It hides messages about CPU instructions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

from ._batch import Batch, Implementation
from ._framework import Framework, Loss
from ._keras_losses import KerasLosses
from ._tensorflow_autograd import TRANSFORMED, TensorflowAutograd
from ._tensorflow_syntax import SYNTAX
from ._training import Step, Training
from .formulas import of_transformed, with_options
from .formulas.tensorflow import (
    at_least_float32,
    log1p,
    log1p_probabilities,
    lse,
    lse_logsumexp,
    naive,
    naive_logsumexp,
    naive_probabilities,
    onehot,
    pick,
)
from .linear import LinearBatch, written
from .linear import tensorflow as linear
from .stages import Operations

# TensorFlow would take all memory of the accelerator, which other frameworks may need.
for _accelerator in tf.config.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(_accelerator, enable=True)

Tensor = Any


# --- built-in ---------------------------------------------------------------------------------------------------


def sparse(logits: Tensor, targets: Tensor) -> Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def dense(logits: Tensor, targets: Tensor) -> Tensor:
    return tf.nn.softmax_cross_entropy_with_logits(labels=_labels(logits, targets), logits=logits)


# Users scale and cap the logits themselves, since the function has no such options. XLA fuses this into its loops.
def nn_log_softmax(logits: Tensor, targets: Tensor) -> Tensor:
    return -pick(tf.nn.log_softmax(logits), targets)


def nn_logsumexp(logits: Tensor) -> Tensor:
    return tf.reduce_logsumexp(logits, axis=1)


def _labels(logits: Tensor, targets: Tensor) -> Tensor:
    soft = targets.dtype.is_floating
    return targets if soft else tf.one_hot(targets, tf.shape(logits)[-1], dtype=logits.dtype)


MODES, PLAIN_MODES = ("eager", "graph", "compiled"), ("compiled",)


def _formula(name: str, loss: Loss, probabilities: Loss | None) -> Implementation:
    return Implementation(
        f"tensorflow/{name}", name, loss, "tensorflow", probabilities, modes=MODES, plain_modes=PLAIN_MODES
    )


def _builtin(name: str, loss: Loss, *, class_axis: int | None = -1, is_dense: bool = False) -> Implementation:
    # For its dense losses TensorFlow documents that each row of labels is a probability distribution. It computes the
    # gradient as softmax minus labels, which is correct only for such labels.
    return Implementation(
        f"tensorflow/{name}", "builtin", loss, "tensorflow",
        soft=is_dense, normalized=is_dense, class_axis=class_axis, modes=MODES, plain_modes=PLAIN_MODES,
    )  # fmt: skip


KERAS = KerasLosses(lambda: tf.keras.losses, tf.nn.softmax, _labels)


# --- called, traced, differentiated and trained -----------------------------------------------------------------


def _forward(implementation: Implementation, batch: Batch, logits: Tensor, targets: Tensor) -> Tensor:
    shaped = batch.spatial(logits, targets, implementation.class_axis)
    if implementation.reduces:
        loss = implementation.loss(*shaped, reduction=batch.reduction, **batch.options)
        # Keras does not reduce the losses of an empty batch; the sum of one number is that number.
        return tf.reshape(loss, [-1]) if batch.reduction == "none" else tf.reduce_sum(loss)
    return _reduce(tf.reshape(implementation.loss(*shaped, **batch.options), [-1]), batch.reduction)


def _reduce(rows: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return rows
    # The losses here leave the reduction to the caller. tf.reduce_mean of float16 sums in float16, and its error would
    # hide that of the losses.
    wide = at_least_float32(rows)
    return tf.cast(tf.reduce_mean(wide) if reduction == "mean" else tf.reduce_sum(wide), rows.dtype)


# The catalogue has about 50 sets of options for each loss. In a search each call may have different options.
MAX_PROGRAMS = 1000
_programs: dict[Hashable, Callable[..., tuple[Tensor, Tensor]]] = {}


def _program(implementation: Implementation, batch: Batch, mode: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a cached function that computes loss and gradient together, as a training step does."""
    key = implementation, mode, batch.program_key
    if key not in _programs:
        if len(_programs) >= MAX_PROGRAMS:
            _programs.clear()
        _programs[key] = _step(implementation, batch.without_rows(), mode)
    return _programs[key]


def _step(implementation: Implementation, batch: Batch, mode: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def both(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = _forward(implementation, batch, logits, targets)
        return loss, tf.convert_to_tensor(tape.gradient(loss, logits))

    return _traced(both, mode, autograph=_needs_autograph(implementation))


def _needs_autograph(implementation: Implementation) -> bool:
    """Return whether the loss may branch or loop over tensors, as the losses of this file do not."""
    return implementation not in TensorflowFramework.implementations


def _traced(function: Callable[..., Any], mode: str, *, autograph: bool = True) -> Callable[..., Any]:
    """Return the function traced for each shape, since a graph for all shapes would depend on the first ones."""
    if mode == "eager":
        return function
    options = {"jit_compile": mode == "compiled", "autograph": autograph}
    traced: Callable[..., Any] = tf.function(function, reduce_retracing=False, **options)
    return traced


_traced_once = cache(_traced)


@tf.function  # type: ignore[untyped-decorator]
def step(
    implementation: Implementation, weights: tuple[Tensor, ...], images: Tensor, labels: Tensor, rate: Tensor
) -> Step:
    """Return one step of gradient descent: a graph traced for each loss, model and dtype, without XLA."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        *hidden, (last, last_bias) = zip(weights[::2], weights[1::2], strict=True)
        x = images
        for w, b in hidden:
            x = tf.nn.relu(x @ w + b)
        logits = x @ last + last_bias
        loss = tf.cast(tf.reduce_mean(at_least_float32(implementation.loss(logits, labels))), logits.dtype)
    gradient = tape.gradient(loss, weights)
    return Step(tuple(w - rate * g for w, g in zip(weights, gradient, strict=True)), loss, gradient, logits)


# A graph's error has the call stack of each node that failed before the reason. Several nodes may fail at once: the
# one that is named differs from run to run, as does the number of the graph.
_STACKS = re.compile(r'^.*\(most recent call last\):\n(?:[ \t]*(?:File ".*", line \d+.*)?\n)*', re.MULTILINE)
_NODES = re.compile(
    r"\{\{function_node __inference_.*?\}\}\s*|\s*\[\[\{\{node .*?\}\}\]\]|\s*\[Op:__inference_[^\]]*\]"
)


class TensorflowFramework(Framework):
    """TensorFlow, on the CPU and the GPUs it finds."""

    name = "tensorflow"
    implementations = (
        _formula("naive", with_options(naive, naive_logsumexp, tf.tanh), of_transformed(naive_probabilities, tf.tanh)),
        _formula("lse", with_options(lse, lse_logsumexp, tf.tanh), None),
        _formula("log1p", log1p, log1p_probabilities),
        _builtin("nn.sparse_softmax_cross_entropy_with_logits", sparse),
        _builtin("nn.softmax_cross_entropy_with_logits", dense, is_dense=True),
        _builtin("nn.log_softmax", with_options(nn_log_softmax, nn_logsumexp, tf.tanh), class_axis=None),
        *KERAS.implementations("tensorflow/keras.", MODES, PLAIN_MODES),
    )
    linear_implementations = linear.implementations(
        {name: (name, i.loss) for name, i in written(implementations).items()}
        | {
            "nn.sparse_softmax_cross_entropy_with_logits": ("builtin", sparse),
        }
    )
    autograd = TensorflowAutograd()
    linear_autograd = linear.AUTOGRAD
    transformed = TRANSFORMED
    strides = False
    # Determinism makes TensorFlow sum in the same order each time.
    training = Training(
        step, ("tensorflow/naive", "tensorflow/lse", "tensorflow/nn.sparse_softmax_cross_entropy_with_logits"),
        "graph", tf.config.experimental.enable_op_determinism,
    )  # fmt: skip
    # `explain` traces the formulas with these operations, in the order in which the backward pass rounds.
    operations = Operations(
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
        # Not d / x, since TensorFlow's vectorized reciprocal gives a different number.
        log_slope=lambda d, x: d * tf.math.reciprocal(x),
        quotient_slope=lambda d, e, s, p: d * (-e / s / s),
        quotient_text="dp * (-e / s / s)",
        share=lambda d, x, m: (
            tf.cast(x == m, x.dtype) / tf.reduce_sum(tf.cast(x == m, x.dtype), axis=1, keepdims=True) * d
        ),
    )
    syntax = SYNTAX
    reduce = staticmethod(_reduce)

    def settings(self) -> Mapping[str, str]:
        # TensorFlow reports oneDNN in a log line; its public interface does not have it.
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
        with self.placed(device):
            x, t = tf.constant(batch.in_memory()), tf.constant(batch.targets)
            if (probabilities := implementation.probabilities) is not None:
                traced = _traced_once(probabilities, mode, autograph=_needs_autograph(implementation))
                yield "probabilities", traced(x, **batch.logit_options).numpy()
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

    def evaluate_linear(
        self, implementation: Implementation, batch: LinearBatch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        with self.placed(device):
            for quantity, tensor in linear.evaluate(implementation, batch, self.reduce):
                yield quantity, tensor.numpy()

    def unsupported(self, error: Exception) -> bool:
        # Such as "Could not find device for node" or "Value for attr 'T' ... is not in the list of allowed values".
        lacks = (tf.errors.UnimplementedError, tf.errors.NotFoundError)
        return isinstance(error, lacks) or "not in the list of allowed values" in str(error)

    def message(self, error: BaseException) -> str:
        return _NODES.sub("", _STACKS.sub("", str(error)))

    def placed(self, device: str) -> AbstractContextManager[Any]:
        return tf.device({"cuda": "GPU:0"}.get(device, "CPU:0"))

    def to_array(self, values: NDArray[Any], device: str) -> Tensor:
        return tf.constant(values)

    def to_numpy(self, array: Tensor) -> NDArray[Any]:
        return array.numpy()

    def flat(self, array: Tensor) -> Tensor:
        return tf.reshape(array, [-1])

    def in_mode(self, loss: Loss, mode: str) -> Loss:
        return _traced(loss, mode)


FRAMEWORK = TensorflowFramework()
