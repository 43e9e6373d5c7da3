"""PyTorch: one step of gradient descent, eager."""

from __future__ import annotations

import torch
from torch import Tensor

from ...frameworks import Implementation
from ...frameworks.torch import FRAMEWORK, at_least_float32

__all__ = ["FRAMEWORK", "step"]

# Sums are taken in the same order whatever the number of cores, and matrices this small are not worth a second one.
torch.set_num_threads(1)


def step(
    implementation: Implementation, weights: tuple[Tensor, ...], images: Tensor, labels: Tensor, rate: Tensor
) -> tuple[tuple[Tensor, ...], Tensor, tuple[Tensor, ...], Tensor]:
    """New weights, mean loss, its gradient and the logits."""
    leaves = tuple(w.detach().requires_grad_() for w in weights)
    with torch.enable_grad():
        logits = _forward(leaves, images)
        loss = _mean_loss(implementation, logits, labels)
        gradient = torch.autograd.grad(loss, leaves)
    return tuple(w - rate * g for w, g in zip(weights, gradient, strict=True)), loss.detach(), gradient, logits.detach()


def _forward(weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
    *hidden, (last, last_bias) = zip(weights[::2], weights[1::2], strict=True)
    for w, b in hidden:
        x = torch.relu(x @ w + b)
    return x @ last + last_bias


def _mean_loss(implementation: Implementation, logits: Tensor, labels: Tensor) -> Tensor:
    if implementation.reduces:
        reduced: Tensor = implementation.loss(logits, labels, reduction="mean")
        return reduced
    return at_least_float32(implementation.loss(logits, labels)).mean().to(logits.dtype)
