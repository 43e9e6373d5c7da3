"""PyTorch's built-in losses, and fused Triton kernels for a GPU, whose packages are optional."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it
from torch import Tensor

from ..core.conventions import Convention, MeanDivisor
from ..core.interpreting import INTERPRETED
from ._batch import Implementation
from .formulas import squared, transformed


def pick(values: Tensor, targets: Tensor) -> Tensor:
    return values.gather(1, targets[:, None]).squeeze(1)


def nll_of_log_softmax(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, dim=1), targets, **options)


def cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str, **options: Any) -> Tensor:
    # With smoothing PyTorch takes a different path, which sums the log-probabilities of all classes.
    if "label_smoothing" in options:
        raise NotImplementedError("with label smoothing it is torch/F.cross_entropy[label_smoothing]")
    return F.cross_entropy(logits, targets, reduction=reduction, **options)


def cross_entropy_of_probabilities(
    logits: Tensor, targets: Tensor, *, reduction: str, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    # With class probabilities PyTorch takes another path than with class indices: it multiplies by the whole target.
    soft = targets
    if not targets.is_floating_point():
        soft = F.one_hot(targets.long(), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    return F.cross_entropy(logits, soft, weight, reduction=reduction, label_smoothing=label_smoothing)


def cross_entropy_loss(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    loss: Tensor = torch.nn.CrossEntropyLoss(**options)(logits, targets)
    return loss


def cross_entropy_under_autocast(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    # The call of a model under autocast, whose last layer returns logits in the lower precision.
    if logits.dtype not in (torch.float16, torch.bfloat16):
        raise NotImplementedError(f"autocast makes logits of float16 or bfloat16, not of {logits.dtype}")
    with torch.autocast(logits.device.type, dtype=logits.dtype):
        return F.cross_entropy(logits, targets, **options)


# As in a language model: Transformers scales and caps logits in the model's dtype (Cohere, Gemma 2), and its loss takes
# them in float32. Trainers add the z-loss of the rows that are not ignored.
def cross_entropy_of_capped(
    logits: Tensor,
    targets: Tensor,
    *,
    reduction: str,
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    if label_smoothing and softcap is None and logit_scale is None and not z_loss:
        raise NotImplementedError("with label smoothing alone it is torch/F.cross_entropy[label_smoothing]")
    x = transformed(torch.tanh, logits, softcap, logit_scale)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    w = None if weight is None else weight.to(x.dtype)
    options: dict[str, Any] = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    loss = F.cross_entropy(x, targets, w, reduction=reduction, **options)
    if not z_loss:
        return loss
    counted = targets != ignore_index
    squares = torch.where(counted, squared(torch.logsumexp(x, dim=1), z_loss), 0.0)
    if reduction == "none":
        return loss + squares
    count = counted.to(x.dtype) if w is None else torch.where(counted, w[torch.where(counted, targets, 0)], 0.0)
    return loss + squares.sum() / (count.sum() if reduction == "mean" else 1)


def logsumexp(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.logsumexp(logits, dim=1) - pick(logits, targets)


# --- fused kernels ----------------------------------------------------------------------------------------------


def liger_cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str, **options: Any) -> Tensor:
    from liger_kernel.transformers.functional import liger_cross_entropy as fused  # noqa: PLC0415 - it is optional

    # The forward kernel overwrites the logits with the gradient, so it gets a clone. The clone keeps the memory layout:
    # the kernel copies logits stored by columns, the copy requires no gradient, and version 0.8.5 then returns the
    # logits as the gradient.
    if "z_loss" in options:
        options["lse_square_scale"] = options.pop("z_loss")
    loss: Tensor = fused(logits.clone(), targets, reduction=reduction, **options)
    return loss


# The successor of flash-attn's Triton kernel, whose package needs CUDA to be installed.
def fla_cross_entropy(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    from fla.modules.fused_cross_entropy import cross_entropy_loss as fused  # noqa: PLC0415 - it is optional

    names = {"z_loss": "lse_square_scale", "softcap": "logit_softcapping"}
    rows: Tensor = fused(logits, targets, **{names.get(name, name): value for name, value in options.items()})[0]
    return rows


# --- as implementations -----------------------------------------------------------------------------------------

# The documented mean is "sum l_n / N" for class probabilities; for class indices it divides by the targets' weights.
OF_SHARES = Convention(MeanDivisor.ROWS, source="torch 2.13.0, torch.nn.CrossEntropyLoss")
MODES, PLAIN_MODES = ("eager", "compiled"), ("compiled",)


def _builtin(
    name: str, loss: Callable[..., Tensor], *, reduces: bool = True, class_axis: int | None = 1, **more: Any
) -> Implementation:
    more = {"modes": MODES, "plain_modes": PLAIN_MODES} | more
    return Implementation(f"torch/{name}", "builtin", loss, "torch", reduces=reduces, class_axis=class_axis, **more)


def _fused(name: str, loss: Callable[..., Tensor], *, reduces: bool) -> Implementation:
    package = name.partition(".")[0]
    modes, devices = ("eager", INTERPRETED), ("cuda",)
    return Implementation(f"torch/{name}", "builtin", loss, package, reduces=reduces, devices=devices, modes=modes)


LIGER = _fused("liger_kernel.liger_cross_entropy", liger_cross_entropy, reduces=True)
FLA = _fused("fla.modules.fused_cross_entropy.cross_entropy_loss", fla_cross_entropy, reduces=False)
BUILTINS = (
    _builtin("F.cross_entropy", cross_entropy),
    _builtin("F.cross_entropy[label_smoothing]", F.cross_entropy),
    _builtin("F.cross_entropy[probabilities]", cross_entropy_of_probabilities, soft=True, convention=OF_SHARES),
    _builtin("F.cross_entropy[softcap]", cross_entropy_of_capped),
    _builtin("F.cross_entropy[autocast]", cross_entropy_under_autocast, soft=True),
    _builtin("F.nll_loss[F.log_softmax]", nll_of_log_softmax),
    _builtin("nn.CrossEntropyLoss", cross_entropy_loss, soft=True),
    _builtin("logsumexp", logsumexp, reduces=False, class_axis=None),
    LIGER,
    FLA,
)
