"""The right loss in PyTorch, in two parts, so that a defect changes only one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor
from torch.autograd.function import once_differentiable

INF = float("inf")
Loss = Callable[[Tensor, Tensor], Tensor]


def pick(x: Tensor, t: Tensor) -> Tensor:
    return x.gather(1, t[:, None])[:, 0]


def onehot(t: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(t, like.shape[1]).to(like.dtype)


def wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def shift(x: Tensor) -> Tensor:
    """Return the logits in at least float32, less their maximum."""
    return wide(x) - wide(x).amax(1, keepdim=True).detach()


def shifted(x: Tensor, t: Tensor) -> Tensor:
    """Return the right loss."""
    s = shift(x)
    return (s.exp().sum(1).log() - pick(s, t)).to(x.dtype)


def slope(x: Tensor, t: Tensor, p: Tensor, upstream: Tensor) -> Tensor:
    """Return the right gradient."""
    return (p - onehot(t, p)) * upstream[:, None]


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, value: Loss, gradient: Callable[..., Tensor]) -> Tensor:
        ctx.save_for_backward(x, t, shift(x).softmax(1))
        ctx.gradient = gradient
        return value(x, t).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        x, t, p = ctx.saved_tensors
        return ctx.gradient(x, t, p, wide(upstream[0])).to(x.dtype), None, None, None


def value_alone(value: Loss) -> Loss:
    """Return a loss with these values and the right gradient."""

    @wraps(value)
    def loss(x: Tensor, t: Tensor) -> Tensor:
        return _Parts.apply(x, t, value, slope)

    return loss


def gradient_alone(gradient: Callable[..., Tensor]) -> Loss:
    """Return the right loss with a backward pass of logits, targets, probabilities (float32 or wider), upstream."""

    @wraps(gradient)
    def loss(x: Tensor, t: Tensor) -> Tensor:
        return _Parts.apply(x, t, shifted, gradient)

    return loss


def differentiated_by(backward: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Loss:
    """Return the right loss with a backward pass of logits, targets and upstream, which may be differentiated again."""

    class Differentiated(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, t: Tensor) -> Tensor:
            ctx.save_for_backward(x, t)
            return shifted(x, t)

        @staticmethod
        def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
            return backward(*ctx.saved_tensors, *upstream), None

    @wraps(backward)
    def loss(x: Tensor, t: Tensor) -> Tensor:
        return Differentiated.apply(x, t)

    return loss


class Mapped(torch.autograd.Function):
    """The right loss in the form that `torch.func` takes, for a batching rule ``vmap`` of a subclass."""

    @staticmethod
    def forward(x: Tensor, t: Tensor) -> Tensor:
        return shifted(x, t)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        x, t = ctx.saved_tensors
        return slope(x, t, x.softmax(1), *upstream), None
