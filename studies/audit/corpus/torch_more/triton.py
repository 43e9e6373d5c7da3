"""Triton kernels of the cross-entropy: a sound one, and one defect each of the kinds that kernels have.

Triton must be set to interpret kernels before this module is imported: `logitlab check --mode interpreted` does that.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import sound, wrong_gradient, wrong_loss

BLOCK = 128
DTYPES = ("float32", "bfloat16")


@triton.jit
def _forward(
    x_ptr, t_ptr, loss_ptr, top_ptr, log_sum_ptr, row_stride, class_stride, target_stride, classes,
    block: tl.constexpr, first_top: tl.constexpr, beyond: tl.constexpr, shifted: tl.constexpr, added_back: tl.constexpr,
    wide: tl.constexpr,
):  # fmt: skip
    """The loss of a row by the online softmax; a program is a row."""
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * row_stride
    target = tl.load(x_ptr + tl.load(t_ptr + row * target_stride) * class_stride).to(wide)
    top = tl.full((), first_top, wide)
    total = tl.full((), 0.0, wide)
    for start in range(0, classes, block):
        place = start + tl.arange(0, block)
        x = tl.load(x_ptr + place * class_stride, mask=place < classes, other=beyond).to(wide)
        if shifted:
            new = tl.maximum(top, tl.max(x))
            shift = tl.where(new == float("-inf"), 0.0, new)
            total = total * tl.exp(top - shift) + tl.sum(tl.exp(x - shift))
            top = new
        else:
            total += tl.sum(tl.exp(x))
            top = tl.full((), 0.0, wide)
    log_sum = tl.log(total)
    tl.store(top_ptr + row, top)
    tl.store(log_sum_ptr + row, log_sum)
    tl.store(loss_ptr + row, (top + log_sum) - target if added_back else log_sum + (top - target))


@triton.jit
def _backward(
    x_ptr, t_ptr, top_ptr, log_sum_ptr, up_ptr, out_ptr, row_stride, class_stride, target_stride, up_stride, classes,
    block: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """The gradient of a row: softmax - onehot, times the row's upstream gradient."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(t_ptr + row * target_stride)
    top, log_sum = tl.load(top_ptr + row), tl.load(log_sum_ptr + row)
    up = tl.load(up_ptr + row * up_stride).to(wide)
    for start in range(0, classes, block):
        place = start + tl.arange(0, block)
        x = tl.load(x_ptr + row * row_stride + place * class_stride, mask=place < classes, other=float("-inf")).to(wide)
        gradient = tl.exp(x - top - log_sum) - tl.where(place == target, 1.0, 0.0)
        tl.store(out_ptr + row * classes + place, gradient * up, mask=place < classes)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t, defect):
        rows, classes = x.shape
        at_least_float32 = torch.promote_types(x.dtype, torch.float32)
        loss = x.new_empty(rows)
        top, log_sum = x.new_empty(rows, dtype=at_least_float32), x.new_empty(rows, dtype=at_least_float32)
        # In bounds, unlike in a kernel: the interpreter reads the memory of this process.
        x = x.as_strided(x.shape, (classes, 1)) if defect == "row stride" else x
        if rows:
            _forward[(rows,)](
                x, t, loss, top, log_sum, x.stride(0), x.stride(1), t.stride(0), classes, block=BLOCK,
                first_top=0.0 if defect == "start" else float("-inf"),
                beyond=0.0 if defect == "mask" else float("-inf"), shifted=defect != "unshifted",
                added_back=defect == "added back", wide=tl.float64 if at_least_float32 == torch.float64 else tl.float32,
            )  # fmt: skip
        ctx.save_for_backward(x, t, top, log_sum)
        ctx.defect = defect
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        x, t, top, log_sum = ctx.saved_tensors
        rows, classes = x.shape
        out = x.new_empty(rows, classes)
        up = torch.ones_like(upstream) if ctx.defect == "upstream" else upstream
        if rows:
            _backward[(rows,)](
                x, t, top, log_sum, up, out, x.stride(0), x.stride(1), t.stride(0), up.stride(0), classes, block=BLOCK,
                wide=tl.float64 if top.dtype == torch.float64 else tl.float32,
            )  # fmt: skip
        return out, None, None


@sound(*DTYPES)
def online(x: Tensor, t: Tensor) -> Tensor:
    """The online softmax, shifted by the running maximum, whatever the strides."""
    return _CrossEntropy.apply(x, t, "")


@wrong_loss(*DTYPES)
def unshifted(x: Tensor, t: Tensor) -> Tensor:
    """The exponentials of the logits themselves."""
    return _CrossEntropy.apply(x, t, "unshifted")


@wrong_loss(*DTYPES)
def last_block_reads_zeros(x: Tensor, t: Tensor) -> Tensor:
    """Beyond the row's end a block reads 0 instead of -inf."""
    return _CrossEntropy.apply(x, t, "mask")


@wrong_loss("float32")
def offset_sensitive(x: Tensor, t: Tensor) -> Tensor:
    """The maximum is added to the log before the target is subtracted, as in Liger-Kernel 0.8.5."""
    return _CrossEntropy.apply(x, t, "added back")


@wrong_loss(*DTYPES)
def maximum_starts_at_zero(x: Tensor, t: Tensor) -> Tensor:
    """The running maximum starts at 0: large negative logits underflow."""
    return _CrossEntropy.apply(x, t, "start")


@wrong_loss(*DTYPES)
def rows_lie_close(x: Tensor, t: Tensor) -> Tensor:
    """The rows are taken to lie one after the other."""
    return _CrossEntropy.apply(x, t, "row stride")


@wrong_gradient(*DTYPES)
def upstream_is_one(x: Tensor, t: Tensor) -> Tensor:
    """The upstream gradient is not applied."""
    return _CrossEntropy.apply(x, t, "upstream")
