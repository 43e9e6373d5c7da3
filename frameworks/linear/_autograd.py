"""Differentiation of a loss of hidden states, one interface for all frameworks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any

Array = Any
Loss = Callable[..., Array]
Pull = Callable[[Array | None], dict[str, Array]]


class LinearAutograd(ABC):
    """Differentiation of a loss by hidden states, weight and bias. Arrays are the framework's own."""

    @abstractmethod
    def forward(
        self, loss: Loss, leaves: Mapping[str, Array], targets: Array, *, by: Collection[str], repeatedly: bool = False
    ) -> tuple[Array, Pull]:
        """Return the loss, and a function from an upstream gradient to the gradients by name.

        Args:
            loss: called as ``loss(hidden=..., weight=..., bias=..., targets=...)``.
            leaves: ``hidden`` (B, H), ``weight`` (C, H), and ``bias`` (C,) if there is one.
            targets: (B,) class indices, or (B, C) class probabilities.
            by: the names of the leaves that require a gradient.
            repeatedly: whether the function is called more than once.

        The upstream gradient has the shape of the loss. None stands for ones.
        """

    def untracked(self, loss: Loss, leaves: Mapping[str, Array], targets: Array) -> Array:
        """Return the loss, computed without tracking for differentiation."""
        return loss(**leaves, targets=targets)
