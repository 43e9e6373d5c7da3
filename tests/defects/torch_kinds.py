"""PyTorch losses with one defect each that shows in one kind of call."""

from __future__ import annotations

import time

import torch

from . import wrong_gradient, wrong_loss
from .torch_parts import gradient_alone, onehot, pick, shift, shifted, slope


@wrong_loss("float32", how="with int32 targets", breaks="int32 targets")
def int32_targets_are_read_as_pairs(x, t):
    """The targets' memory is read as 64-bit integers, whatever their dtype."""
    if t.dtype == torch.int32:
        t = torch.cat([t, t])[: 2 * len(t)].view(torch.int64) % x.shape[1]
    return shifted(x, t)


@wrong_loss("float32", how="as x[1:], t[1:] of a longer batch")
def storage_offset_is_ignored(x, t):
    """The targets are read from the start of their storage."""
    whole = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage(), 0, t.shape, t.stride())
    return shifted(x, whole)


@wrong_gradient("float32", how="under a strided upstream gradient", breaks="upstream gradients in any memory")
@gradient_alone
def upstream_apart_is_taken_for_one_number(x, t, p, upstream):
    """An upstream gradient that is not contiguous is taken for an expanded one: its memory's first number is read."""
    if upstream.stride() not in ((0,), (1,)):
        upstream = upstream.as_strided(upstream.shape, (0,), 0)
    return slope(x, t, p, upstream)


@wrong_loss("float32", how="on an empty batch", breaks="an empty batch")
def an_empty_batch_gives_a_row(x, t):
    """The grid has at least one program, which leaves a row that nobody has computed."""
    return shifted(x, t) if len(x) else torch.zeros(1, dtype=x.dtype) + x.sum()


@wrong_loss("float32", how="under autocast", breaks="under autocast")
def autocast_goes_through_eight_bits(x, t):
    """Under autocast the logits are rounded to the narrowest dtype that the kernel knows."""
    if torch.is_autocast_enabled("cpu"):
        x = x + (x.to(torch.float8_e4m3fn).to(x.dtype) - x).nan_to_num(0, 0, 0).detach()
    return shifted(x, t)


class _Mapped(torch.autograd.Function):
    @staticmethod
    def forward(x, t):
        return shifted(x, t)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        return slope(x, t, x.softmax(1), upstream), None

    @staticmethod
    def vmap(info, in_dims, x, t):
        return _Mapped.apply(x.flatten(0, 1), t.flatten(0, 1).flip(0)).unflatten(0, x.shape[:2]), 0


@wrong_loss("float32", how="under vmap", breaks="under vmap and grad")
def batching_rule_reverses_the_targets(x, t):
    """The rule for a vectorized map pairs the rows with the targets in reverse order."""
    return _Mapped.apply(x, t)


class _Saved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        p = shift(x).softmax(1)
        ctx.save_for_backward((p - onehot(t, p)).to(x.dtype))
        return shifted(x, t)

    @staticmethod
    def backward(ctx, upstream):
        return ctx.saved_tensors[0] * upstream[:, None], None


@wrong_gradient("float32", how="its gradient differentiated", breaks="second derivatives")
def gradient_is_saved_without_a_graph(x, t):
    """The forward pass saves the gradient. Its own derivative is silently 0, as if it were a constant."""
    return _Saved.apply(x, t)


_buffers: dict[tuple[int, ...], torch.Tensor] = {}


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x, t)
        buffer = _buffers.setdefault(tuple(x.shape), torch.empty(x.shape))
        buffer.copy_(shift(x))
        time.sleep(1e-4)  # a kernel that lets other threads run
        return buffer.exp().sum(1).log() - pick(buffer, t)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        return slope(x, t, x.softmax(1), upstream), None


@wrong_loss("float32", how="in two threads", breaks="in two threads")
def threads_share_a_buffer(x, t):
    """The shifted logits lie in a buffer that all threads share."""
    return _Shared.apply(x, t)
