"""Losses of libraries that train with PyTorch, whose packages are optional. A run measures them if it names them.

Some return only a mean or a sum. Their row losses come from a call for each row.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.interpreting import INTERPRETED
from ._batch import Implementation


def of_each_row(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
    """Return the row losses (B,), each from a call on a batch of one row."""
    if len(logits) == 0:
        return logits.sum(dim=1)
    return torch.stack([loss(logits[i : i + 1], targets[i : i + 1]) for i in range(len(logits))])


# --- Transformers -----------------------------------------------------------------------------------------------

# The losses divide a sum by `num_items_in_batch`, or take the mean without it. A count of 1 leaves the sum.


def fixed_cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str, ignore_index: int = -100) -> Tensor:
    from transformers.loss.loss_utils import fixed_cross_entropy as loss_of  # noqa: PLC0415 - it is optional

    if reduction == "none":
        return of_each_row(lambda x, t: loss_of(x, t, 1, ignore_index), logits, targets)
    return loss_of(logits, targets, None if reduction == "mean" else 1, ignore_index)


def for_causal_lm_loss(logits: Tensor, targets: Tensor, *, reduction: str, ignore_index: int = -100) -> Tensor:
    from transformers.loss.loss_utils import ForCausalLMLoss  # noqa: PLC0415 - it is optional

    # The targets are given as shifted labels, since the loss would otherwise shift them by one position.
    classes = logits.shape[1]
    if reduction == "none":
        return of_each_row(lambda x, t: ForCausalLMLoss(x, None, classes, 1, ignore_index, t), logits, targets)
    return ForCausalLMLoss(logits, None, classes, None if reduction == "mean" else 1, ignore_index, targets)


def label_smoother(
    logits: Tensor, targets: Tensor, *, reduction: str, label_smoothing: float = 0.0, ignore_index: int = -100
) -> Tensor:
    from transformers.trainer_pt_utils import LabelSmoother  # noqa: PLC0415 - it is optional

    if label_smoothing == 0.0:
        raise NotImplementedError("without label smoothing, Transformers' Trainer does not call it")
    smoother = LabelSmoother(label_smoothing, ignore_index)
    if reduction == "none":
        return of_each_row(lambda x, t: smoother((x,), t, num_items_in_batch=1), logits, targets)
    return smoother((logits,), targets, num_items_in_batch=None if reduction == "mean" else 1)


# --- TRL --------------------------------------------------------------------------------------------------------


def negative_log_softmax(logits: Tensor, targets: Tensor) -> Tensor:
    from trl.trainer.utils import selective_log_softmax  # noqa: PLC0415 - it is optional

    return -selective_log_softmax(logits, targets)


def negative_log_softmax_by_kernel(logits: Tensor, targets: Tensor) -> Tensor:
    from trl.kernels import selective_log_softmax_and_entropy  # noqa: PLC0415 - it is optional

    return -selective_log_softmax_and_entropy(logits, targets)[0]


# --- torchtune --------------------------------------------------------------------------------------------------

CHUNKS = 8  # as its recipes divide the positions


def chunked_cross_entropy(
    logits: Tensor, targets: Tensor, *, reduction: str, ignore_index: int | None = None
) -> Tensor:
    from torchtune.modules.loss import CEWithChunkedOutputLoss  # noqa: PLC0415 - it is optional

    if reduction == "sum":
        raise NotImplementedError("returns the mean over the targets that are not ignored, and no sum")
    if reduction == "none" and ignore_index is not None:
        raise NotImplementedError("returns the mean over the targets that are not ignored, and an ignored row has none")
    chunked = CEWithChunkedOutputLoss(CHUNKS, -100 if ignore_index is None else ignore_index)
    if reduction == "none":
        return of_each_row(lambda x, t: chunked([x[None]], t[None]), logits, targets)
    return chunked(logits[None].chunk(CHUNKS, 1), targets[None])


# --- as implementations -----------------------------------------------------------------------------------------


def _wild(name: str, loss: Callable[..., Tensor], *, reduces: bool = True, **more: Any) -> Implementation:
    package = name.partition(".")[0]
    return Implementation(f"torch/{name}", "builtin", loss, package, reduces=reduces, on_request=True, **more)


WILD = (
    _wild("transformers.loss.loss_utils.fixed_cross_entropy", fixed_cross_entropy),
    _wild("transformers.loss.loss_utils.ForCausalLMLoss", for_causal_lm_loss),
    _wild("transformers.trainer_pt_utils.LabelSmoother", label_smoother),
    _wild("trl.trainer.utils.selective_log_softmax", negative_log_softmax, reduces=False),
    _wild(
        "trl.kernels.selective_log_softmax_and_entropy", negative_log_softmax_by_kernel, reduces=False,
        devices=("cuda",), modes=("eager", INTERPRETED),
    ),
    _wild("torchtune.modules.loss.CEWithChunkedOutputLoss", chunked_cross_entropy),
)  # fmt: skip
