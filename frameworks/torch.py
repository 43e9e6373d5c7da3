"""PyTorch: the formulas written in it, and its built-in losses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it
from numpy.typing import NDArray
from torch import Tensor

from ..core.conventions import Convention, MeanDivisor
from ._fused import IMPLEMENTATIONS as FUSED
from ._protocol import Batch, Implementation
from .stages import Operations
from .torch_compile import compiled

# Set by a variant of LogitLab's, which is told to a worker before it imports this.
if "LOGITLAB_FLUSH_SUBNORMALS" in os.environ:
    torch.set_flush_denormal(True)
if "LOGITLAB_MATMUL_PRECISION" in os.environ:
    torch.set_float32_matmul_precision(os.environ["LOGITLAB_MATMUL_PRECISION"])


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


def cross_entropy_loss(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    loss: Tensor = torch.nn.CrossEntropyLoss(**options)(logits, targets)
    return loss


def cross_entropy_under_autocast(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    # As a model run under autocast calls it, on logits that its last layer has made in the lower precision.
    if logits.dtype not in (torch.float16, torch.bfloat16):
        raise NotImplementedError(f"autocast makes logits of float16 or bfloat16, not of {logits.dtype}")
    with torch.autocast(logits.device.type, dtype=logits.dtype):
        return F.cross_entropy(logits, targets, **options)


def logsumexp(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.logsumexp(logits, dim=1) - pick(logits, targets)


# The loss multiplies features with a weight to make its logits. With a single feature, which is 1, the weight is the
# logits, also those that are infinite; an identity would add 0 x inf to the others.
def linear_cross_entropy(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    # A weight (classes, positions, features) makes each row a position of one sample; PyTorch takes the softmax over
    # classes that are not the last dimension by another kernel, which sums less accurately.
    feature, soft = logits.new_ones(1, 1), targets.is_floating_point()
    return F.linear_cross_entropy(feature, logits.T[..., None], (targets.T if soft else targets)[None], **options)


def chunked_linear_cross_entropy(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    # The chunked path has no positions, so that each row is a call.
    if "label_smoothing" in options:
        raise NotImplementedError("with label smoothing F.linear_cross_entropy ignores its options")
    feature, chunked = logits.new_ones(1, 1), torch.nn.LinearCrossEntropyOptions()
    rows = [
        F.linear_cross_entropy(feature, row[:, None], target[None], reduction="none", options=chunked, **options)
        for row, target in zip(logits.unbind(), targets.unbind(), strict=True)
    ]
    return torch.cat([logits[:0, 0], *rows])


# "sum l_n / N" for class probabilities, where for class indices it divides by the targets' weights.
OF_SHARES = Convention(MeanDivisor.ROWS, source="torch 2.13.0, torch.nn.CrossEntropyLoss")
MODES, PLAIN_MODES = ("eager", "compiled"), ("compiled",)


def _formula(name: str, loss: Callable[..., Tensor], probabilities: Callable[..., Tensor] | None) -> Implementation:
    return Implementation(f"torch/{name}", name, loss, "torch", probabilities, modes=MODES, plain_modes=PLAIN_MODES)


def _builtin(name: str, loss: Callable[..., Tensor], **more: Any) -> Implementation:
    documented: dict[str, Any] = {"reduces": True, "class_axis": 1, "modes": MODES, "plain_modes": PLAIN_MODES}
    return Implementation(f"torch/{name}", "builtin", loss, "torch", **(documented | more))


def _linear() -> tuple[Implementation, ...]:
    """Since PyTorch 2.13."""
    if not hasattr(F, "linear_cross_entropy"):
        return ()
    # Its documentation says that torch.compile runs the chunked path eagerly.
    alone: dict[str, Any] = {"class_axis": None}
    eager: dict[str, Any] = {"reduces": False, "modes": ("eager",), "plain_modes": ()}
    return (
        _builtin("F.linear_cross_entropy", linear_cross_entropy, soft=True, **alone),
        _builtin("F.linear_cross_entropy[chunked]", chunked_linear_cross_entropy, **alone, **eager),
    )


class TorchFramework:
    """PyTorch, on the CPU and whatever accelerator it finds."""

    name = "torch"
    implementations = (
        _formula("naive", naive, naive_probabilities),
        _formula("lse", lse, None),
        _formula("log1p", log1p, log1p_probabilities),
        _builtin("F.cross_entropy", cross_entropy),
        _builtin("F.cross_entropy[label_smoothing]", F.cross_entropy),
        _builtin("F.cross_entropy[probabilities]", cross_entropy_of_probabilities, soft=True, convention=OF_SHARES),
        _builtin("F.cross_entropy[autocast]", cross_entropy_under_autocast, soft=True),
        _builtin("F.nll_loss[F.log_softmax]", nll_of_log_softmax),
        _builtin("nn.CrossEntropyLoss", cross_entropy_loss, soft=True),
        _builtin("logsumexp", logsumexp, reduces=False, class_axis=None),
        *_linear(),
        *FUSED,
    )

    def settings(self) -> dict[str, str]:
        onednn = torch.backends.mkldnn
        known = {
            "threads": str(torch.get_num_threads()),
            "vector instructions": torch.backends.cpu.get_cpu_capability(),
            "oneDNN": "on" if onednn.is_available() and onednn.enabled else "off",
            "default dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "float32 matmul precision": torch.get_float32_matmul_precision(),
            "subnormals": "kept" if (torch.tensor(torch.finfo(torch.float32).tiny) / 2).item() else "flushed to zero",
        }
        if torch.cuda.is_available():
            known["accelerator"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
        return known

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
            form = implementation.probabilities
            yield "probabilities", _array((compiled(form) if mode == "compiled" else form)(x))
        x.requires_grad_()
        if mode == "compiled":
            # Eagerly on no rows: what it does not take it tells in its own words, which Dynamo would wrap in others.
            none = batch.spatial(x[:0], t[:0], implementation.class_axis)
            _program(implementation, batch.reduction, "eager")(*none, options)
        shaped = batch.spatial(x, t, implementation.class_axis)
        loss = _program(implementation, batch.reduction, mode)(*shaped, options)
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
            "Backwards requires embeddings",
        )
        return isinstance(error, NotImplementedError) or any(w in str(error) for w in words)


@cache
def _program(implementation: Implementation, reduction: str, mode: str) -> Callable[..., Tensor]:
    """Logits, targets and options to the loss, in one program with its reduction, as a training step has it."""

    def forward(logits: Tensor, targets: Tensor, options: dict[str, Any]) -> Tensor:
        if implementation.reduces:
            loss = implementation.loss(logits, targets, reduction=reduction, **options)
        else:
            loss = _reduce(implementation.loss(logits, targets, **options), reduction)
        return loss.reshape(-1) if reduction == "none" else loss

    return compiled(forward) if mode == "compiled" else forward


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
