"""PyTorch: the formulas written in it, and its built-in losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it
from numpy.typing import NDArray
from torch import Tensor

from ._protocol import Batch, Implementation
from ._stages import Operations


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


def nll_of_log_softmax(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, dim=1), targets, **options)


def cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str, **options: Any) -> Tensor:
    # Smoothed it takes a path of its own in PyTorch, which sums the log-probabilities of all classes.
    if "label_smoothing" in options:
        raise NotImplementedError("with label smoothing it is torch/F.cross_entropy[label_smoothing]")
    return F.cross_entropy(logits, targets, reduction=reduction, **options)


def cross_entropy_of_probabilities(
    logits: Tensor, targets: Tensor, *, reduction: str, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    # Given class probabilities it takes another path than for class indices, multiplying by the whole target.
    soft = targets
    if not targets.is_floating_point():
        soft = F.one_hot(targets.long(), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    return F.cross_entropy(logits, soft, weight, reduction=reduction, label_smoothing=label_smoothing)


def _builtin(name: str, loss: Callable[..., Tensor], *, soft: bool = False) -> Implementation:
    return Implementation(f"torch/{name}", "builtin", loss, "torch", reduces=True, soft=soft, class_axis=1)


class TorchFramework:
    """PyTorch, on the CPU and whatever accelerator it finds."""

    name = "torch"
    implementations = (
        Implementation("torch/naive", "naive", naive, "torch", probabilities=naive_probabilities),
        Implementation("torch/lse", "lse", lse, "torch"),
        Implementation("torch/log1p", "log1p", log1p, "torch", probabilities=log1p_probabilities),
        _builtin("F.cross_entropy", cross_entropy),
        _builtin("F.cross_entropy[label_smoothing]", F.cross_entropy),
        _builtin("F.cross_entropy[probabilities]", cross_entropy_of_probabilities, soft=True),
        _builtin("F.nll_loss[F.log_softmax]", nll_of_log_softmax),
    )

    def devices(self) -> tuple[str, ...]:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return ("cpu",) if accelerator is None else ("cpu", accelerator.type)

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        x = _tensor(batch.in_memory()).to(device)
        t = _tensor(batch.targets.copy()).to(device)
        options = {k: _tensor(v).to(device) if isinstance(v, np.ndarray) else v for k, v in batch.options.items()}
        if implementation.probabilities is not None:
            yield "probabilities", _array(implementation.probabilities(x))
        x.requires_grad_()
        shaped = batch.spatial(x, t, implementation.class_axis)
        if implementation.reduces:
            loss = implementation.loss(*shaped, reduction=batch.reduction, **options)
        else:
            loss = _reduce(implementation.loss(*shaped, **options), batch.reduction)
        loss = loss.reshape(-1) if batch.reduction == "none" else loss
        yield "loss", _array(loss)
        if implementation.differentiable:
            (gradient,) = torch.autograd.grad(loss, x, torch.ones_like(loss))
            yield "gradient", _array(gradient)

    @property
    def operations(self) -> Operations:
        return OPERATIONS

    def unsupported(self, error: Exception) -> bool:
        # PyTorch says '"log_softmax" not implemented for ...' with a NotImplementedError or a RuntimeError.
        # Of int32 targets it says that it expected Long.
        words = (
            "not implemented for",
            "expected target dtype",
            "expected scalar type Long",
            "Expected dtype int64",
        )
        return isinstance(error, NotImplementedError) or any(w in str(error) for w in words)


def _reduce(rows: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return rows
    return rows.mean() if reduction == "mean" else rows.sum()


def _tensor(values: NDArray[Any]) -> Tensor:
    """NumPy has no bfloat16 of PyTorch's: the bits travel as int16."""
    # Made writable only where it is not: a copy would lose the layout that the case is about.
    own = values if values.flags.writeable else values.copy(order="K")
    if own.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(own.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(own)


def _array(tensor: Tensor) -> NDArray[Any]:
    host = tensor.detach().cpu().contiguous()
    if host.dtype == torch.bfloat16:
        return host.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    values: NDArray[Any] = host.numpy()
    return values


# What `logitlab explain` follows the formulas with, in the order in which the backward pass rounds.
OPERATIONS = Operations(
    exp=torch.exp,
    log=torch.log,
    log1p=torch.log1p,
    where=torch.where,
    zeros_like=torch.zeros_like,
    max=lambda x: x.amax(dim=1, keepdim=True),
    sum=lambda x: x.sum(dim=1, keepdim=True),
    sum_slopes=lambda x: x.sum(dim=1, keepdim=True),
    argmax=lambda x: x.argmax(dim=1),
    pick=pick,
    onehot=onehot,
    at_least_float32=at_least_float32,
    cast=lambda x, like: x.to(like.dtype),
    log_slope=lambda d, x: d / x,
    quotient_slope=lambda d, e, s, p: -d * (p / s),
    quotient_text="-dp * (p / s)",
    share=lambda d, x, m: d * (x == m) / (x == m).sum(dim=1, keepdim=True),
    add_slopes=lambda shift, at_max, target: -target + shift + at_max,
    placed=lambda device: torch.no_grad(),
    load=lambda x, device: _tensor(x).to(device),
    dump=_array,
)

FRAMEWORK = TorchFramework()
