"""PyTorch: the formulas written in it, and its built-in losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it
from numpy.typing import NDArray
from torch import Tensor

from ._protocol import Batch, Implementation


def pick(values: Tensor, targets: Tensor) -> Tensor:
    return values.gather(1, targets[:, None]).squeeze(1)


def onehot(indices: Tensor, like: Tensor) -> Tensor:
    return (torch.arange(like.shape[1], device=like.device) == indices[:, None]).to(like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Tensor) -> Tensor:
    e = torch.exp(logits)
    return e / e.sum(dim=1, keepdim=True)


def naive(logits: Tensor, targets: Tensor) -> Tensor:
    return -torch.log(pick(naive_probabilities(logits), targets))


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Tensor, targets: Tensor) -> Tensor:
    m = logits.amax(dim=1, keepdim=True)
    s = torch.exp(logits - m).sum(dim=1)
    return m.squeeze(1) + torch.log(s) - pick(logits, targets)


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------

HALF_SCALE = 2.0**32
SCALE = HALF_SCALE**2


def at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _log1p_terms(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    i = x.argmax(dim=1)
    m = pick(x, i)
    # 2^64 exp(x - m), squared from its half: where subnormals are flushed to zero, terms each too small to be kept
    # would be missing from a sum that is not.
    scaled = (HALF_SCALE * torch.exp((x - m[:, None]) / 2)) ** 2
    # The maximum's term is exactly SCALE; without it the sum of the others is left, or NaN if the row has one.
    others = (scaled - SCALE * onehot(i, x)).sum(dim=1)
    return i, m, scaled / SCALE, others / SCALE


class _Log1p(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        x = at_least_float32(logits)
        i, m, e, others = _log1p_terms(x)
        ctx.save_for_backward(targets, i, e, others)
        ctx.dtype = logits.dtype
        return (torch.log1p(others) + (m - pick(x, targets))).to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        targets, i, e, others = ctx.saved_tensors
        total = 1 + others
        # At the target p - 1 would cancel: it is minus the share of the others, summed without the target.
        rest = torch.where(targets == i, others, total - pick(e, targets))
        at_target = onehot(targets, e) == 1
        gradient = torch.where(at_target, -(rest / total)[:, None], e / total[:, None])
        return (gradient * upstream[0][:, None]).to(ctx.dtype), None


def log1p(logits: Tensor, targets: Tensor) -> Tensor:
    rows: Tensor = _Log1p.apply(logits, targets)
    return rows


def log1p_probabilities(logits: Tensor) -> Tensor:
    _, _, e, others = _log1p_terms(at_least_float32(logits))
    return (e / (1 + others)[:, None]).to(logits.dtype)


# --- built-in ---------------------------------------------------------------------------------------------------


def nll_of_log_softmax(logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, dim=1), targets, reduction=reduction)


class TorchFramework:
    """PyTorch, on the CPU and whatever accelerator it finds."""

    name = "torch"
    implementations = (
        Implementation("torch/naive", "naive", naive, "torch", probabilities=naive_probabilities),
        Implementation("torch/lse", "lse", lse, "torch"),
        Implementation("torch/log1p", "log1p", log1p, "torch", probabilities=log1p_probabilities),
        Implementation("torch/F.cross_entropy", "builtin", F.cross_entropy, "torch", reduces=True),
        Implementation("torch/F.nll_loss[F.log_softmax]", "builtin", nll_of_log_softmax, "torch", reduces=True),
    )

    def devices(self) -> tuple[str, ...]:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return ("cpu",) if accelerator is None else ("cpu", accelerator.type)

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        x = _tensor(batch.logits).to(device)
        t = torch.from_numpy(batch.targets.copy()).to(device)
        if implementation.probabilities is not None:
            yield "probabilities", _array(implementation.probabilities(x))
        x.requires_grad_()
        if implementation.reduces:
            loss = implementation.loss(x, t, reduction=batch.reduction)
        else:
            loss = _reduce(implementation.loss(x, t), batch.reduction)
        yield "loss", _array(loss)
        if implementation.differentiable:
            (gradient,) = torch.autograd.grad(loss, x, torch.ones_like(loss))
            yield "gradient", _array(gradient)

    def unsupported(self, error: Exception) -> bool:
        # PyTorch says '"log_softmax" not implemented for ...' with a NotImplementedError or a RuntimeError.
        return isinstance(error, NotImplementedError) or "not implemented for" in str(error)


def _reduce(rows: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return rows
    return rows.mean() if reduction == "mean" else rows.sum()


def _tensor(values: NDArray[Any]) -> Tensor:
    """NumPy has no bfloat16 of PyTorch's: the bits travel as int16."""
    if values.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(values.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(values.copy())


def _array(tensor: Tensor) -> NDArray[Any]:
    host = tensor.detach().cpu().contiguous()
    if host.dtype == torch.bfloat16:
        return host.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    values: NDArray[Any] = host.numpy()
    return values


FRAMEWORK = TorchFramework()
