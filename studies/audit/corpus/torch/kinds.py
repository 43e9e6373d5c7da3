"""PyTorch losses with one defect each that shows in one kind of call."""

from __future__ import annotations

import time

import torch

from .. import wrong_gradient, wrong_loss
from .parts import Mapped, gradient_alone, onehot, pick, shift, shifted, slope

NARROW = "check/width_5"


@wrong_loss("float32", how="with int32 targets", breaks="int32 targets", shown_by=NARROW)
def int32_targets_are_read_as_pairs(x, t):
    """The targets' memory is read as 64-bit integers, whatever their dtype."""
    if t.dtype == torch.int32:
        t = torch.cat([t, t])[: 2 * len(t)].view(torch.int64) % x.shape[1]
    return shifted(x, t)


@wrong_loss("float32", how="as x[1:], t[1:] of a longer batch", shown_by=NARROW)
def storage_offset_is_ignored(x, t):
    """The targets are read from the start of their storage."""
    whole = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage(), 0, t.shape, t.stride())
    return shifted(x, whole)


@wrong_gradient(
    "float32", how="under a strided upstream gradient", breaks="upstream gradients in any memory", shown_by=NARROW
)
@gradient_alone
def upstream_apart_is_taken_for_one_number(x, t, p, upstream):
    """An upstream gradient that is not contiguous is taken for an expanded one: its memory's first number is read."""
    if upstream.stride() not in ((0,), (1,)):
        upstream = upstream.as_strided(upstream.shape, (0,), 0)
    return slope(x, t, p, upstream)


@wrong_loss("float32", how="on an empty batch", breaks="an empty batch", shown_by=NARROW)
def an_empty_batch_gives_a_row(x, t):
    """The grid has at least one program, which leaves a row that nobody has computed."""
    return shifted(x, t) if len(x) else torch.zeros(1, dtype=x.dtype) + x.sum()


@wrong_loss("float32", how="under autocast", breaks="under autocast", shown_by=NARROW)
def autocast_goes_through_eight_bits(x, t):
    """Under autocast the logits are rounded to the narrowest dtype that the kernel knows."""
    if torch.is_autocast_enabled("cpu"):
        x = x + (x.to(torch.float8_e4m3fn).to(x.dtype) - x).nan_to_num(0, 0, 0).detach()
    return shifted(x, t)


class _Reversed(Mapped):
    @staticmethod
    def vmap(info, in_dims, x, t):
        return _Reversed.apply(x.flatten(0, 1), t.flatten(0, 1).flip(0)).unflatten(0, x.shape[:2]), 0


@wrong_loss("float32", how="under vmap", breaks="under vmap and grad", shown_by=NARROW)
def batching_rule_reverses_the_targets(x, t):
    """The rule for a vectorized map pairs the rows with the targets in reverse order."""
    return _Reversed.apply(x, t)


class _Saved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        p = shift(x).softmax(1)
        ctx.save_for_backward((p - onehot(t, p)).to(x.dtype))
        return shifted(x, t)

    @staticmethod
    def backward(ctx, upstream):
        return ctx.saved_tensors[0] * upstream[:, None], None


@wrong_gradient("float32", how="its gradient differentiated", breaks="second derivatives", shown_by=NARROW)
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
        time.sleep(1e-3)  # a kernel that lets other threads run
        return buffer.exp().sum(1).log() - pick(buffer, t)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        return slope(x, t, x.softmax(1), upstream), None


@wrong_loss("float32", how="in two threads", breaks="in two threads", shown_by=NARROW)
def threads_share_a_buffer(x, t):
    """The shifted logits lie in a buffer that all threads share."""
    return _Shared.apply(x, t)


# --- targets and upstream gradients in memory -------------------------------------------------------------------


@wrong_loss("float32", how="with int32 targets", shown_by=NARROW)
def every_second_int32_target(x, t):
    """The stride of the targets is counted in 8 bytes: of int32 targets every second one is read."""
    return shifted(x, t.repeat(2)[::2] if t.dtype == torch.int32 else t)


@wrong_loss("float32", how="as x[1:], t[1:] of a longer batch", shown_by=NARROW)
def targets_are_loaded_in_aligned_pairs(x, t):
    """Two targets are loaded at once: targets that start at an odd number are read from the number before."""
    if t.storage_offset() % 2:
        t = t.as_strided(t.shape, t.stride(), t.storage_offset() - 1)
    return shifted(x, t)


@wrong_loss("float32", how="strided in memory, with strided targets", shown_by=NARROW)
def strided_logits_with_contiguous_targets(x, t):
    """The kernel for strided logits has no stride for the targets; the one for contiguous logits has."""
    return shifted(x, t if x.stride(1) == 1 else t.as_strided(t.shape, (1,)))


@wrong_gradient("float32", how="under a strided upstream gradient", shown_by=NARROW)
@gradient_alone
def upstream_is_read_without_gaps(x, t, p, upstream):
    """Each row's upstream gradient is the next number in memory, unless one number is expanded to all rows."""
    return slope(x, t, p, upstream if upstream.stride() == (0,) else upstream.as_strided(upstream.shape, (1,)))


@wrong_gradient("float32", how="under a strided upstream gradient", shown_by=NARROW)
@gradient_alone
def upstream_is_read_from_the_start_of_its_memory(x, t, p, upstream):
    """The upstream gradient's strides are passed to the kernel, but not its storage offset."""
    return slope(x, t, p, upstream.as_strided(upstream.shape, upstream.stride(), 0))


# --- batches without rows, and tall and wide ones ---------------------------------------------------------------


@wrong_loss("float32", how="on an empty batch", shown_by=NARROW)
def an_empty_batch_is_a_mean_of_nothing(x, t):
    """A batch without rows takes the path of a reduced loss, and 0 / 0 is NaN."""
    return shifted(x, t) if len(x) else shifted(x, t).mean()


_programs = [-1]


@wrong_loss("float32", shown_by=NARROW)
def an_empty_batch_leaves_its_grid(x, t):
    """The grid of an empty batch is kept for the next call, which starts no programs and returns zeros."""
    kept, _programs[0] = _programs[0], len(x)
    return shifted(x, t) * (0.0 if kept == 0 else 1.0)


@wrong_loss("float32", how="in a batch of 129 rows", shown_by="check/width_65537")
def blocks_of_rows_of_a_vocabulary_have_no_tail(x, t, block=32):
    """Beyond 65,536 classes a program takes 32 rows, and the rows after the last whole block stay 0."""
    done = len(x) // block * block if x.shape[1] > 65_536 and len(x) > block else len(x)
    return torch.nn.functional.pad(shifted(x[:done], t[:done]), (0, len(x) - done))


@wrong_loss("float32", how="in a batch of 129 rows", shown_by="check/width_65537")
def two_million_logits_in_parts(x, t, most=2**21):
    """More than 2^21 logits are processed in parts of whole rows, and the number of parts is rounded down."""
    size = most // x.shape[1]
    done = len(x) // size * size if x.numel() > most else len(x)
    return torch.nn.functional.pad(shifted(x[:done], t[:done]), (0, len(x) - done))


@wrong_loss("float32", how="in a batch of 1025 rows", shown_by="check/width_8193")
def offset_of_a_row_in_24_bits(x, t):
    """The offset of a row is a signed integer of 24 bits: a row beyond 8,388,607 logits reads the first row."""
    first = torch.where(torch.arange(len(x)) * x.shape[1] < 2**23, torch.arange(len(x)), 0)
    return shifted(x[first], t)


@wrong_gradient("float32", how="in a batch of 1025 rows", shown_by="check/width_8193")
@gradient_alone
def grid_of_rows_and_tiles(x, t, p, upstream, tile=128):
    """The backward pass has a program for each tile of each row, and the grid ends at 65,535 programs."""
    g, tiles = slope(x, t, p, upstream), -(-x.shape[1] // tile)
    last, rest = divmod(65_535, tiles)
    if last < len(g):
        g[last, rest * tile :] = 0.0
        g[last + 1 :] = 0.0
    return g
