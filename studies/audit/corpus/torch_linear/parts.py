"""The right loss of hidden states in PyTorch, in parts, so that a defect changes only one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..torch.parts import pick, wide

TILE = 32  # classes of a tile
ROWS = 4  # rows of a chunk


class Saved(NamedTuple):
    """The input of a backward pass: the arguments, the softmax (B, C) and the upstream gradient (B,), in float32."""

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    bias: Tensor | None
    p: Tensor
    upstream: Tensor


Gradients = tuple[Tensor, Tensor, Tensor | None]


def logits(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the logits in at least float32."""
    return F.linear(wide(hidden), wide(weight), None if bias is None else wide(bias))


def of_logits(z: Tensor, targets: Tensor) -> Tensor:
    """Return the row losses of logits, less their maximum."""
    s = z - z.amax(1, keepdim=True).detach()
    return s.exp().sum(1).log() - pick(s, targets)


def right(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the right row losses in at least float32."""
    return of_logits(logits(hidden, weight, bias), targets)


def tiles(classes: int, tile: int = TILE) -> Iterator[slice]:
    """Yield the classes of each tile."""
    return (slice(start, min(start + tile, classes)) for start in range(0, classes, tile))


def slopes(s: Saved) -> Tensor:
    """Return the derivative (B, C) by the logits."""
    one = F.one_hot(s.targets, s.p.shape[1]).to(s.p.dtype)
    return (s.p - one) * s.upstream[:, None]


def of_slopes(s: Saved, g: Tensor, of_weight: Tensor | None = None) -> Gradients:
    """Return the gradients, given the derivative by the logits; ``of_weight`` is another one, for weight and bias."""
    other = g if of_weight is None else of_weight
    return g @ wide(s.weight), other.T @ wide(s.hidden), other.sum(0)


def gradients(s: Saved) -> Gradients:
    """Return the right gradients."""
    return of_slopes(s, slopes(s))


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any, bias: Any, value: Any, gradient: Any) -> Tensor:
        ctx.save_for_backward(hidden, weight, targets, bias, logits(hidden, weight, bias).softmax(1))
        ctx.gradient = gradient
        rows: Tensor = value(hidden, weight, targets, bias)
        return rows.to(hidden.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, bias, p = ctx.saved_tensors
        found = ctx.gradient(Saved(hidden, weight, targets, bias, p, wide(upstream[0])))
        h, w, b = (None if g is None else g.to(hidden.dtype) for g in found)
        return h, w, None, None if bias is None else b, None, None


def parts(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    value: Callable[..., Tensor] = right,
    gradient: Callable[[Saved], Gradients] = gradients,
) -> Tensor:
    """Return the row losses of one part, and the gradients of the other."""
    rows: Tensor = _Parts.apply(hidden, weight, targets, bias, value, gradient)
    return rows


def reduced(rows: Tensor, reduction: str) -> Tensor:
    """Return row losses, or their mean or sum."""
    return rows if reduction == "none" else rows.mean() if reduction == "mean" else rows.sum()
