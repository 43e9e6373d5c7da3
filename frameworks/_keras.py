"""Keras's losses, written once for its backends; Keras is imported here, on the backend that the caller has named.

A backend is chosen before Keras is imported and for the process's lifetime: `keras_jax` and `keras_torch` set
``KERAS_BACKEND`` and then import this module, each in a worker of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ._protocol import Implementation


@contextmanager
def _jax_not_found() -> Iterator[None]:
    """Makes ``import jax`` fail as if it were not installed."""
    sys.modules["jax"] = None  # type: ignore[assignment] # Python's word for a module that is not to be found
    try:
        yield
    finally:
        del sys.modules["jax"]


# On every backend keras.callbacks imports JAX where it is installed, to patch an old version of it.
with nullcontext() if os.environ["KERAS_BACKEND"] == "jax" or "jax" in sys.modules else _jax_not_found():
    import keras

if keras.backend.backend() != os.environ["KERAS_BACKEND"]:
    raise ImportError(f"Keras runs on {keras.backend.backend()} in this process, and keeps its first backend")

Tensor = Any
Losses = keras.losses


def _one_hot(targets: Tensor, logits: Tensor) -> Tensor:
    soft = targets.ndim == logits.ndim
    return targets if soft else keras.ops.one_hot(targets, logits.shape[-1], dtype=_dtype(logits))


def _dtype(logits: Tensor) -> str:
    """Given to a loss object, which else casts all that it is given to Keras's floatx, float32."""
    return str(keras.backend.standardize_dtype(logits.dtype))


# Keras calls the index that is ignored ignore_class.
def sparse_from_logits(logits: Tensor, targets: Tensor, ignore_index: int | None = None) -> Tensor:
    return Losses.sparse_categorical_crossentropy(targets, logits, from_logits=True, ignore_class=ignore_index)


def sparse(logits: Tensor, targets: Tensor, ignore_index: int | None = None) -> Tensor:
    return Losses.sparse_categorical_crossentropy(targets, keras.ops.softmax(logits), ignore_class=ignore_index)


def dense_from_logits(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    labels = _one_hot(targets, logits)
    return Losses.categorical_crossentropy(labels, logits, from_logits=True, label_smoothing=label_smoothing)


def dense(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    labels, probabilities = _one_hot(targets, logits), keras.ops.softmax(logits)
    return Losses.categorical_crossentropy(labels, probabilities, label_smoothing=label_smoothing)


# The objects are the functions, a cast of logits and targets alike to their dtype, and a reduction of Keras's own.
def sparse_object(logits: Tensor, targets: Tensor, *, reduction: str, ignore_index: int | None = None) -> Tensor:
    loss = Losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=ignore_index, reduction=reduction, dtype=_dtype(logits)
    )
    return loss(targets, logits)


def dense_object(logits: Tensor, targets: Tensor, *, reduction: str, label_smoothing: float = 0.0) -> Tensor:
    loss = Losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, reduction=reduction, dtype=_dtype(logits)
    )
    return loss(_one_hot(targets, logits), logits)


def placed(device: str) -> AbstractContextManager[Any]:
    """Where Keras puts its tensors, and moves those that it is given: left to itself the accelerator, if any."""
    placement: AbstractContextManager[Any] = keras.device(device)
    return placement


def settings() -> dict[str, str]:
    """What Keras reads from its configuration file, a user's own."""
    return {
        "keras floatx": keras.config.floatx(),
        "keras dtype policy": keras.config.dtype_policy().name,
        "keras epsilon": f"{keras.config.epsilon():g}",
    }


def implementations(framework: str, modes: tuple[str, ...] = ("eager",)) -> tuple[Implementation, ...]:
    """Keras's losses as implementations of the framework of that name."""

    def builtin(name: str, loss: Any, **more: Any) -> Implementation:
        return Implementation(
            f"{framework}/losses.{name}", "builtin", loss, "keras", class_axis=-1, modes=modes, **more
        )

    # Keras documents of its dense losses that the targets are one-hot.
    distribution: dict[str, Any] = {"soft": True, "normalized": True}
    softmax = {"probabilities": keras.ops.softmax}
    return (
        builtin("sparse_categorical_crossentropy[from_logits]", sparse_from_logits),
        builtin("sparse_categorical_crossentropy", sparse, **softmax),
        builtin("categorical_crossentropy[from_logits]", dense_from_logits, **distribution),
        builtin("categorical_crossentropy", dense, **softmax, **distribution),
        builtin("SparseCategoricalCrossentropy[from_logits,dtype]", sparse_object, reduces=True),
        builtin("CategoricalCrossentropy[from_logits,dtype]", dense_object, reduces=True, **distribution),
    )
