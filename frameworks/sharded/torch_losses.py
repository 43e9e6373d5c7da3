"""The written loss of PyTorch: a function of a rank's local logits (B, C_local), targets (B,) and group of ranks."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _SumOverRanks(torch.autograd.Function):
    """A sum over the ranks. Each rank differentiates its own copy of the loss, so the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: Any) -> Tensor:
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return upstream[0], None


def _over_ranks(values: Tensor, group: Any) -> Tensor:
    total: Tensor = _SumOverRanks.apply(values, group)
    return total


def lse(
    logits: Tensor, targets: Tensor, group: Any, *, classes: int, first_class: int, label_smoothing: float = 0.0
) -> Tensor:
    """Return the article's LogSumExp: shifted by the maximum of all ranks, which is added back."""
    m = _max_over_ranks(logits.detach(), group)
    s = _over_ranks(torch.exp(logits - m[:, None]).sum(dim=1), group)
    subtracted = _over_ranks(_own_target(logits, targets - first_class), group)
    if label_smoothing:
        mean = _over_ranks(logits.sum(dim=1), group) / classes
        subtracted = (1 - label_smoothing) * subtracted + label_smoothing * mean
    return m + torch.log(s) - subtracted


def _max_over_ranks(logits: Tensor, group: Any) -> Tensor:
    # A rank may have no class.
    m = logits.amax(dim=1) if logits.shape[1] else logits.new_full((len(logits),), float("-inf"))
    dist.all_reduce(m, op=dist.ReduceOp.MAX, group=group)
    return m


def _own_target(logits: Tensor, places: Tensor) -> Tensor:
    """Return the target logit (B,) where it is among the rank's classes, else 0."""
    if not logits.shape[1]:
        return logits.sum(dim=1)
    own = (places >= 0) & (places < logits.shape[1])
    picked = logits.gather(1, torch.where(own, places, 0)[:, None]).squeeze(1)
    return torch.where(own, picked, 0)
