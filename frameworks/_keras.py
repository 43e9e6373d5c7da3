"""Keras on the backend that ``KERAS_BACKEND`` names.

A process must choose the backend before it imports Keras, and cannot change it. `keras_jax` and `keras_torch` set
``KERAS_BACKEND`` and then import this module, each in a separate worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ._keras_losses import KerasLosses


@contextmanager
def _jax_not_found() -> Iterator[None]:
    """Make ``import jax`` fail as if it were not installed."""
    sys.modules["jax"] = None  # type: ignore[assignment] # None makes an import raise ModuleNotFoundError
    try:
        yield
    finally:
        del sys.modules["jax"]


# On every backend keras.callbacks imports JAX if it is installed, to patch an old version of it.
with nullcontext() if os.environ["KERAS_BACKEND"] == "jax" or "jax" in sys.modules else _jax_not_found():
    import keras

if keras.backend.backend() != os.environ["KERAS_BACKEND"]:
    raise ImportError(f"Keras runs on {keras.backend.backend()} in this process, and keeps its first backend")

Tensor = Any


def _labels(logits: Tensor, targets: Tensor) -> Tensor:
    soft = targets.ndim == logits.ndim
    return targets if soft else keras.ops.one_hot(targets, logits.shape[-1], dtype=_dtype(logits))


def _dtype(logits: Tensor) -> str:
    return str(keras.backend.standardize_dtype(logits.dtype))


LOSSES = KerasLosses(lambda: keras.losses, keras.ops.softmax, _labels, _dtype)


def placed(device: str) -> AbstractContextManager[Any]:
    """Return a context in which Keras creates tensors on this device and moves inputs to it.

    By default Keras uses the accelerator, if any.
    """
    placement: AbstractContextManager[Any] = keras.device(device)
    return placement


# The first line of a program with one of these losses, before it imports Keras.
IMPORTS = (f"import os; os.environ['KERAS_BACKEND'] = {keras.backend.backend()!r}",)


def settings() -> Mapping[str, str]:
    """Return the settings that Keras reads from the user's configuration file."""
    return {
        "keras floatx": keras.config.floatx(),
        "keras dtype policy": keras.config.dtype_policy().name,
        "keras epsilon": f"{keras.config.epsilon():g}",
    }
