"""PyTorch losses with one defect each in their rows, their memory or their state between calls."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .. import wrong_loss
from .parts import pick, shift, shifted, slope, value_alone

# --- rows -------------------------------------------------------------------------------------------------------


@wrong_loss("float32")
def rows_beyond_1023_are_zero(x, t):
    """A grid of 1024 programs, one for each row: further rows keep the 0 they were given."""
    return F.pad(shifted(x[:1024], t[:1024]), (0, max(len(x) - 1024, 0)))


@wrong_loss("float32", seen="torch/cunn#144", shown_by="check/width_4")
def rows_beyond_65535_are_zero(x, t):
    """A grid dimension ends at 65,535, and further rows are silently skipped."""
    return F.pad(shifted(x[:65535], t[:65535]), (0, max(len(x) - 65535, 0)))


@wrong_loss("float32", breaks="rows independent of each other")
def rows_in_fours(x, t):
    """A block has four rows, and the remaining rows of a larger batch are not computed."""
    done = len(x) // 4 * 4 if len(x) > 4 else len(x)
    return F.pad(shifted(x[:done], t[:done]), (0, len(x) - done))


@wrong_loss("float32")
def one_row_alone_is_scaled(x, t):
    """A batch of one row takes a separate path, which divides by the number of classes."""
    return shifted(x, t) / (x.shape[1] if len(x) == 1 else 1)


@wrong_loss("float32", how="in a square batch")
def axis_is_guessed(x, t):
    """The class axis is the one whose length differs from the targets': a square batch is read sideways."""
    return -pick(x.log_softmax(0 if x.shape[1] == len(t) else 1), t)


@wrong_loss("float32")
@value_alone
def sums_differenced(x, t):
    """All row sums come from one running sum over the batch, as differences of large numbers."""
    s = shift(x)
    running = s.exp().flatten().cumsum(0)
    ends = torch.arange(1, len(x) + 1) * x.shape[1] - 1
    sums = torch.diff(running[ends], prepend=running.new_zeros(1)) if len(x) else running
    return sums.log() - pick(s, t)


@wrong_loss("float32")
def sum_leaks_into_the_next_row(x, t):
    """An accumulator that is not cleared: every other row's sum starts with a thousandth of its neighbour's."""
    s = shift(x)
    sums = s.exp().sum(1)
    odd = torch.arange(len(x)) % 2 == 1
    return torch.where(odd, sums + 1e-3 * sums.roll(1).nan_to_num(0, 0, 0), sums).log() - pick(s, t)


@wrong_loss("float32")
def rows_come_back_sorted(x, t):
    """Rows are sorted by target, for locality, and stay in that order."""
    order = t.argsort(stable=True)
    return shifted(x[order], t[order])


@wrong_loss("float32")
@value_alone
def equal_rows_are_computed_once(x, t):
    """Rows with equal logits are computed once, with the first row's target."""
    rows = [tuple(row) for row in x.tolist()]
    first = torch.tensor([rows.index(row) for row in rows], dtype=torch.long)
    return shifted(x, t[first])


@wrong_loss("float32")
def a_whole_last_block_is_dropped(x, t, block=128):
    """The last block of rows is treated as the remainder; without a remainder a whole block is left out."""
    done = (len(x) - 1) // block * block if len(x) and len(x) % block == 0 else len(x)
    return F.pad(shifted(x[:done], t[:done]), (0, len(x) - done))


@wrong_loss("float32", shown_by="check/width_1025")
def a_million_logits_take_another_path(x, t):
    """Batches of a million logits or more go through bfloat16."""
    return shifted(x if x.numel() < 1_000_000 else x.bfloat16().float(), t)


@wrong_loss("float32", "float64")
def mean_of_the_batch(x, t):
    """Every row gets the mean of the batch."""
    return shifted(x, t).mean().expand(len(x))


@wrong_loss("float32")
def a_nan_row_spreads(x, t):
    """Each row adds 0 times its neighbour, so a NaN spreads to the neighbour."""
    rows = shifted(x, t)
    return rows + 0 * rows.roll(1).masked_fill(rows.roll(1).abs() == float("inf"), 0)


# --- memory -----------------------------------------------------------------------------------------------------


@wrong_loss("float32", breaks="right in every layout")
def strides_are_ignored(x, t):
    """The logits' memory is read as contiguous rows, whatever its strides."""
    return shifted(x.as_strided(x.shape, (x.shape[1], 1)), t)


@wrong_loss("float32", seen="NVIDIA/TransformerEngine#2734", how="sliced")
def row_stride_is_the_width(x, t):
    """A row with a gap between its numbers is copied; any other is assumed to start where the last one ends."""
    read = x if x.stride(1) == 1 else x.contiguous()
    return shifted(read.as_strided(x.shape, (x.shape[1], 1)), t)


@wrong_loss("float32", seen="pytorch/pytorch#72120", how="with strided targets")
def target_stride_is_ignored(x, t):
    """Targets are read as contiguous, even if they are every second number of their memory."""
    return shifted(x, t.as_strided(t.shape, (1,)))


@wrong_loss("float32", writes=True, breaks="arguments left as they are")
def shifts_in_place(x, t):
    """The maximum is subtracted from the caller's own logits."""
    x.data.sub_(x.data.amax(1, keepdim=True))
    return shifted(x, t)


@wrong_loss("float32", how="called again")
def targets_made_one_based(x, t):
    """Targets become one-based in place, as the kernel needs: a second loss of them uses other classes."""
    loss = shifted(x, t.clone())
    t.add_(1).remainder_(x.shape[1])
    return loss


class _Reused(torch.autograd.Function):
    OUT = torch.zeros(1 << 18)

    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x, t)
        _Reused.OUT[: len(x)] = shifted(x, t)
        return torch.empty(0).set_(_Reused.OUT.untyped_storage(), 0, x.shape[:1])

    @staticmethod
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        return slope(x, t, x.softmax(1), upstream), None


@wrong_loss("float32")
def result_is_overwritten_by_the_next_call(x, t):
    """Every call returns the same memory: the next call overwrites kept losses."""
    return _Reused.apply(x, t)


# --- calls ------------------------------------------------------------------------------------------------------

_maxima: dict[tuple[int, ...], Tensor] = {}
_workspaces: dict[int, Tensor] = {}
_calls = [0]


@wrong_loss("float32")
def maximum_of_the_first_call(x, t):
    """The maximum is cached by shape: a second batch of the shape is shifted by the first one's."""
    m = _maxima.setdefault(tuple(x.shape), x.detach().amax(1, keepdim=True).nan_to_num(0, 0, 0))
    return (x - m).exp().sum(1).log() - pick(x - m, t)


@wrong_loss("float32", shown_by=("check/width_64", "layout/transposed"))
def workspace_is_not_cleared(x, t):
    """Rows are padded to a multiple of 64 in a workspace with the numbers of a wider row."""
    width = -(-x.shape[1] // 64) * 64
    if width not in _workspaces:
        _workspaces[width] = torch.full((1, width), float("-inf"), dtype=torch.float64)
    left = _workspaces[width][:, x.shape[1] :].to(x.dtype)
    if len(x):
        _workspaces[width][:, : x.shape[1]] = x[-1:].detach()
    return shifted(torch.cat([x, left.expand(len(x), -1)], 1), t)


@wrong_loss("float32", "float64")
def every_seventh_call_is_coarse(x, t):
    """One call in seven uses a less accurate exponential."""
    _calls[0] += 1
    return shifted(x.bfloat16().to(x.dtype) if _calls[0] % 7 == 0 else x, t)


@wrong_loss("float32", how="called again")
def order_of_the_sum_is_random(x, t):
    """Terms are added in an order that changes from call to call, as atomic additions are: the last bits differ."""
    s = shift(x)
    parts = s.exp()[:, torch.randperm(x.shape[1])].split(3, 1)
    return sum(part.sum(1) for part in parts).log() - pick(s, t)


@wrong_loss("float32")
def noise_is_left_on(x, t):
    """The noise of a regularizer, a ten-thousandth, is left on."""
    return shifted(x + 1e-4 * torch.randn_like(x), t)


@wrong_loss("float32", how="without its gradient", breaks="the same without its gradient")
def evaluation_takes_another_path(x, t):
    """Without a gradient, as in evaluation, the logits go through bfloat16."""
    return shifted(x if torch.is_grad_enabled() else x.bfloat16().to(x.dtype), t)
