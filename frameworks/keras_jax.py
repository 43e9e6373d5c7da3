"""Keras on its JAX backend: Keras's losses, called, compiled and differentiated as those written for JAX are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

os.environ["KERAS_BACKEND"] = "jax"
from . import _keras
from ._protocol import Batch, Implementation
from .jax import MODES, JaxFramework


@cache
def _with_reduction(implementation: Implementation, reduction: str) -> Implementation:
    """One that returns what it is to return; kept, so that JAX compiles it once."""
    return replace(implementation, loss=partial(implementation.loss, reduction=reduction), reduces=False)


class KerasJaxFramework(JaxFramework):
    """Keras's losses in JAX's arithmetic, on JAX's devices."""

    name = "keras-jax"
    implementations = _keras.implementations(name, MODES)  # type: ignore[assignment] # as many as there are

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        if implementation.reduces:
            implementation = _with_reduction(implementation, batch.reduction)
            # What Keras has reduced is one number, and JAX's sum of it is that number.
            batch = replace(batch, reduction="none" if batch.reduction == "none" else "sum")
        # Keras takes a one-hot in JAX's default dtype. Were that float64, as for the formulas written for JAX, its
        # sparse losses would answer in float64 to logits of any dtype, which few who use them see.
        jax.config.update("jax_enable_x64", batch.logits.dtype == np.float64)
        try:
            yield from super().evaluate(implementation, batch, device, mode)
        finally:
            jax.config.update("jax_enable_x64", True)


FRAMEWORK = KerasJaxFramework()
