"""Keras on its JAX backend: Keras's losses, called, compiled and differentiated like the losses of JAX."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

os.environ["KERAS_BACKEND"] = "jax"
from . import _keras
from ._batch import Batch, Implementation
from .jax import MODES, JaxFramework


class KerasJaxFramework(JaxFramework):
    """Keras's losses in JAX's arithmetic, on JAX's devices."""

    name = "keras-jax"
    implementations = tuple(_keras.LOSSES.implementations("keras-jax/", MODES))
    linear_implementations = ()  # Keras has no loss of hidden states
    training = None  # `train-demo` trains with JAX itself
    # Programs have 64-bit mode in float64 only, as `evaluate` has it.
    syntax = replace(JaxFramework.syntax, imports=_keras.IMPORTS + JaxFramework.syntax.imports, prepared=())

    def settings(self) -> Mapping[str, str]:
        return {**super().settings(), **_keras.settings()}

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        # Keras builds one-hot arrays in JAX's default dtype. In 64-bit mode, which the formulas in JAX need, its sparse
        # losses would return float64 for logits of any dtype, which few users see.
        before = jax.config.values["jax_enable_x64"]
        jax.config.update("jax_enable_x64", batch.logits.dtype == np.float64)
        try:
            yield from super().evaluate(implementation, batch, device, mode)
        finally:
            jax.config.update("jax_enable_x64", before)


FRAMEWORK = KerasJaxFramework()
