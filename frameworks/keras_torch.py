"""Keras on its PyTorch backend: Keras's losses, called and differentiated like PyTorch's own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

os.environ["KERAS_BACKEND"] = "torch"
from . import _keras
from ._batch import Batch, Implementation
from .torch import TorchFramework


class KerasTorchFramework(TorchFramework):
    """Keras's losses in PyTorch's arithmetic, on PyTorch's devices."""

    name = "keras-torch"
    implementations = tuple(_keras.LOSSES.implementations("keras-torch/"))
    linear_implementations = ()  # Keras has no loss of hidden states
    training = None  # `train-demo` trains with PyTorch itself
    syntax = replace(
        TorchFramework.syntax,
        imports=_keras.IMPORTS + TorchFramework.syntax.imports,
        on_cpu="torch.set_default_device('cpu')",
    )

    def settings(self) -> Mapping[str, str]:
        return {**super().settings(), **_keras.settings()}

    def placed(self, device: str) -> AbstractContextManager[Any]:
        return _keras.placed(device)

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        with self.placed(device):
            yield from super().evaluate(implementation, batch, device, mode)


FRAMEWORK = KerasTorchFramework()
