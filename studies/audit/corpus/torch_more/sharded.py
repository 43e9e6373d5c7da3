"""Sharded losses in PyTorch: sound ones, and ones with one planted defect each.

Each takes a rank's logits (B, C_local), all targets (B,) and the process group, as `check --shards` calls it.
"""

import torch
import torch.distributed as dist

from .. import sound, wrong_gradient, wrong_loss

FOR = ("float32", "float64")
NARROW = "check/width_8"
SMOOTHED = ("check/width_8", "check/label_smoothing_*", "check/options_*")


class _Sum(torch.autograd.Function):
    """A sum over the ranks, each of which differentiates its own copy of the loss."""

    @staticmethod
    def forward(ctx, values, group):
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, upstream):
        return upstream, None


class _ScaledSum(torch.autograd.Function):
    """As autograd of a collective differentiates it: the gradients of all ranks' copies are summed."""

    forward = _Sum.forward

    @staticmethod
    def backward(ctx, upstream):
        total = upstream.clone()
        dist.all_reduce(total)
        return total, None


def _first(logits, group):
    """Return the index of the rank's first class and the number of all classes, for shards of any size."""
    sizes = torch.zeros(group.size(), dtype=torch.int64)
    sizes[group.rank()] = logits.shape[1]
    dist.all_reduce(sizes, group=group)
    return int(sizes[: group.rank()].sum()), int(sizes.sum())


def _maximum(logits, group):
    m = logits.detach().amax(dim=1)
    dist.all_reduce(m, op=dist.ReduceOp.MAX, group=group)
    return m


def _own(values, places):
    """Return the entries at the places that are among the rank's classes, else 0."""
    own = (places >= 0) & (places < values.shape[1])
    return torch.where(own, values.gather(1, torch.where(own, places, 0)[:, None]).squeeze(1), 0)


def _loss(logits, targets, group, first, add=_Sum.apply):
    shifted = logits - _maximum(logits, group)[:, None]
    total = add(torch.exp(shifted).sum(dim=1), group)
    return torch.log(total) - add(_own(shifted, targets - first), group)


# --- sound ---------------------------------------------------------------------------------------------------------


@sound(*FOR, arguments={"shards": 2})
def sharded_loss(logits, targets, group):
    return _loss(logits, targets, group, _first(logits, group)[0])


@sound(*FOR, arguments={"shards": 4})
def sharded_loss_of_sizes_given(logits, targets, group, *, first_class):
    return _loss(logits, targets, group, first_class)


@sound(*FOR, arguments={"shards": 2})
def sharded_loss_with_options(logits, targets, group, label_smoothing=0.0, ignore_index=-100):
    first, classes = _first(logits, group)
    rows = _smoothed(logits, targets, group, first, classes, label_smoothing)
    return torch.where(targets == ignore_index, 0, rows)


def _smoothed(logits, targets, group, first, classes, label_smoothing, mean_of=None):
    shifted = logits - _maximum(logits, group)[:, None]
    total = torch.log(_Sum.apply(torch.exp(shifted).sum(dim=1), group))
    picked = _Sum.apply(_own(shifted, targets - first), group)
    if not label_smoothing:
        return total - picked
    mean = mean_of(shifted) if mean_of is not None else _Sum.apply(shifted.sum(dim=1), group) / classes
    return (1 - label_smoothing) * (total - picked) + label_smoothing * (total - mean)


# --- defects -------------------------------------------------------------------------------------------------------


@wrong_loss(*FOR, arguments={"shards": 2}, shown_by=NARROW)
def maximum_of_the_rank(logits, targets, group):
    """Each rank shifts by its own maximum, so that the sums do not fit together."""
    first = _first(logits, group)[0]
    shifted = logits - logits.detach().amax(dim=1)[:, None]
    total = _Sum.apply(torch.exp(shifted).sum(dim=1), group)
    return torch.log(total) - _Sum.apply(_own(shifted, targets - first), group)


@wrong_loss(*FOR, arguments={"shards": 2}, shown_by=SMOOTHED, seen="NVIDIA/Megatron-LM#737")
def smoothing_over_the_rank(logits, targets, group, label_smoothing=0.0):
    """The mean log-probability is that of the rank's classes, and differs between ranks."""
    first, classes = _first(logits, group)
    return _smoothed(logits, targets, group, first, classes, label_smoothing, lambda x: x.mean(dim=1))


@wrong_loss(*FOR, arguments={"shards": 2}, shown_by=SMOOTHED, seen="NVIDIA/Megatron-LM#7464")
def smoothing_by_the_number_of_local_classes(logits, targets, group, label_smoothing=0.0):
    """All ranks agree on a loss whose smoothing is spread over too few classes."""
    first, _ = _first(logits, group)
    return _smoothed(logits, targets, group, first, logits.shape[1], label_smoothing)


@wrong_loss(*FOR, arguments={"shards": 2}, shown_by=NARROW)
def target_without_offset(logits, targets, group):
    """Each rank takes the target for an index into its own classes."""
    return _loss(logits, targets, group, 0)


@wrong_loss(*FOR, arguments={"shards": 2}, shown_by="check/width_5")
def equal_shards_assumed(logits, targets, group):
    """The offset is the rank times its own number of classes, which is smaller on the last rank."""
    return _loss(logits, targets, group, group.rank() * logits.shape[1])


@wrong_gradient(*FOR, arguments={"shards": 2}, shown_by=NARROW)
def gradient_times_the_ranks(logits, targets, group):
    """The collective's backward pass sums the gradients of all copies of the loss."""
    return _loss(logits, targets, group, _first(logits, group)[0], _ScaledSum.apply)


@wrong_loss(*FOR, arguments={"shards": 2}, shown_by=NARROW)
def denominator_of_the_rank(logits, targets, group):
    """The loss takes the sum of exponentials of the rank alone."""
    first = _first(logits, group)[0]
    shifted = logits - _maximum(logits, group)[:, None]
    return torch.log(torch.exp(shifted).sum(dim=1)) - _Sum.apply(_own(shifted, targets - first), group)


@wrong_loss(*FOR, arguments={"shards": 2}, shown_by=NARROW, writes=True)
def logits_shifted_in_place(logits, targets, group):
    """The shift is written into the caller's logits."""
    first, m = _first(logits, group)[0], _maximum(logits, group)
    rows = _loss(logits, targets, group, first)
    logits.data -= m[:, None]
    return rows


@wrong_loss(*FOR, arguments={"shards": 2}, shown_by=NARROW)
def shard_without_finite_logits(logits, targets, group):
    """A rank whose classes are all masked shifts by -inf before the ranks take the maximum."""
    own = logits.detach().amax(dim=1)
    total = torch.exp(logits - own[:, None]).sum(dim=1) * torch.exp(own - _maximum(logits, group))
    picked = _Sum.apply(_own(logits, targets - _first(logits, group)[0]), group)
    return _maximum(logits, group) + torch.log(_Sum.apply(total, group)) - picked
