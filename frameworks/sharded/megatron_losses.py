"""Megatron Core's sharded loss, as a function of a rank's local logits (B, C_local), targets (B,) and group."""

import warnings
from typing import Any

from torch import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about packages for a GPU
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel import vocab_parallel_cross_entropy
    from megatron.core.utils import divide


def plain(logits: Tensor, targets: Tensor, group: Any, *, classes: int) -> Tensor:
    return _called(logits, targets, group, classes, 0.0)


def smoothed(logits: Tensor, targets: Tensor, group: Any, *, classes: int, label_smoothing: float = 0.0) -> Tensor:
    if not label_smoothing:
        raise NotImplementedError("without label smoothing it is vocab_parallel_cross_entropy")
    # Megatron spreads the smoothing over the classes other than the target; LogitLab, like PyTorch, over all.
    return _called(logits, targets, group, classes, label_smoothing * (classes - 1) / classes)


def _called(logits: Tensor, targets: Tensor, group: Any, classes: int, smoothing: float) -> Tensor:
    try:
        divide(classes, group.size())
    except AssertionError as error:  # Megatron pads a vocabulary that the ranks do not divide
        raise NotImplementedError(str(error)) from error
    _join(group)
    loss: Tensor = vocab_parallel_cross_entropy(logits, targets, smoothing)
    return loss


_joined: list[Any] = []


def _join(group: Any) -> None:
    """Make Megatron use the group, once for each group."""
    if _joined == [group]:
        return
    if parallel_state.is_initialized():
        parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=group.size())
    _joined[:] = [group]
