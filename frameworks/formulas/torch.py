"""The formulas written in PyTorch."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._torch_losses import pick
from ..stages import HALF_SCALE, SCALE
from ._options import cap_slopes, gap, half_gaps, log1p_logsumexp, squared, transformed


def onehot(indices: Tensor, like: Tensor) -> Tensor:
    return (torch.arange(like.shape[1], device=like.device) == indices[:, None]).to(like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Tensor) -> Tensor:
    e = torch.exp(logits)
    return e / e.sum(dim=1, keepdim=True)


def naive(logits: Tensor, targets: Tensor) -> Tensor:
    return -torch.log(pick(naive_probabilities(logits), targets))


def naive_logsumexp(logits: Tensor) -> Tensor:
    return torch.log(torch.exp(logits).sum(dim=1))


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Tensor, targets: Tensor) -> Tensor:
    m = logits.amax(dim=1, keepdim=True)
    s = torch.exp(logits - m).sum(dim=1)
    return m.squeeze(1) + torch.log(s) - pick(logits, targets)


def lse_logsumexp(logits: Tensor) -> Tensor:
    m = logits.amax(dim=1, keepdim=True)
    return m.squeeze(1) + torch.log(torch.exp(logits - m).sum(dim=1))


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------


def at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _log1p_terms(x: Tensor, scale: float | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    i = x.argmax(dim=1)
    m = pick(x, i)
    scaled = (HALF_SCALE * torch.exp(half_gaps(x, m[:, None], scale))) ** 2
    others = (scaled - SCALE * onehot(i, x)).sum(dim=1)
    return i, m, scaled / SCALE, others / SCALE


def _capped(
    logits: Tensor, softcap: float | None, logit_scale: float | None
) -> tuple[Tensor, float | None, Tensor | None]:
    """Return what a scale is to be applied to, in at least float32; the scale; and the slopes of capped logits."""
    z = at_least_float32(logits)
    if softcap is None:
        return z, logit_scale, None
    r = transformed(torch.tanh, z, None, logit_scale) / softcap
    return torch.tanh(r), softcap, cap_slopes(torch.exp(-2 * torch.abs(r)), logit_scale)


class _Log1p(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, softcap: float | None, logit_scale: float | None, z_loss: float
    ) -> Tensor:
        x, scale, slopes = _capped(logits, softcap, logit_scale)
        i, m, e, others = _log1p_terms(x, scale)
        rows = torch.log1p(others) + gap(m, pick(x, targets), scale)
        y = log1p_logsumexp(torch.log1p(others), m, scale) if z_loss else None
        ctx.save_for_backward(targets, i, e, others, slopes, y)
        ctx.dtype, ctx.scale, ctx.z_loss = logits.dtype, scale, z_loss
        return (rows if y is None else rows + squared(y, z_loss)).to(logits.dtype)

    # The saved tensors have no graph, so a second derivative would silently be 0.
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        targets, i, e, others, slopes, y = ctx.saved_tensors
        total = 1 + others
        # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without the target.
        rest = torch.where(targets == i, others, total - pick(e, targets))
        at_target = onehot(targets, e) == 1
        gradient = torch.where(at_target, -(rest / total)[:, None], e / total[:, None])
        if y is not None:
            gradient = gradient + (2 * ctx.z_loss * y / total)[:, None] * e
        if slopes is not None or ctx.scale is not None:
            gradient = gradient * (ctx.scale if slopes is None else slopes)
        return (gradient * upstream[0][:, None]).to(ctx.dtype), None, None, None, None


def log1p(
    logits: Tensor,
    targets: Tensor,
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
) -> Tensor:
    rows: Tensor = _Log1p.apply(logits, targets, softcap, logit_scale, z_loss)
    return rows


def log1p_probabilities(logits: Tensor, softcap: float | None = None, logit_scale: float | None = None) -> Tensor:
    x, scale, _ = _capped(logits, softcap, logit_scale)
    _, _, e, others = _log1p_terms(x, scale)
    return (e / (1 + others)[:, None]).to(logits.dtype)
