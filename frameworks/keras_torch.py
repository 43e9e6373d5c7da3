"""Keras on its PyTorch backend: Keras's losses, called and differentiated as PyTorch's own are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

os.environ["KERAS_BACKEND"] = "torch"
from . import _keras
from ._protocol import Batch, Implementation
from .torch import TorchFramework


class KerasTorchFramework(TorchFramework):
    """Keras's losses in PyTorch's arithmetic, on PyTorch's devices."""

    name = "keras-torch"
    implementations = _keras.implementations(name)

    def settings(self) -> dict[str, str]:
        return super().settings() | _keras.settings()

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        with _keras.placed(device):
            yield from super().evaluate(implementation, batch, device, mode)


FRAMEWORK = KerasTorchFramework()
