"""PyTorch losses with one defect each that shows in a mode of the framework, in an option or in a rare call."""

from __future__ import annotations

import threading

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .. import wrong_gradient, wrong_loss
from .parts import (
    Mapped,
    differentiated_by,
    gradient_alone,
    onehot,
    pick,
    shift,
    shifted,
    slope,
    value_alone,
    wide,
)

NARROW = "check/width_5"

# --- modes ------------------------------------------------------------------------------------------------------


def unshifted(x: Tensor, t: Tensor) -> Tensor:
    return x.exp().sum(1).log() - pick(x, t)


@wrong_loss("float32", how="in inference mode", shown_by=NARROW)
def inference_has_no_shift(x, t):
    """The kernel for inference does not subtract the maximum."""
    return (unshifted if torch.is_inference_mode_enabled() else shifted)(x, t)


@wrong_loss("float32", writes=True, shown_by=NARROW)
def no_gradient_no_copy(x, t):
    """The logits are shifted in place if no gradient is tracked, since no backward pass needs them."""
    if not torch.is_grad_enabled():
        x.data.sub_(x.data.amax(1, keepdim=True))
    return shifted(x, t)


@wrong_loss("float32", how="under autocast", shown_by=NARROW)
def autocast_has_no_shift(x, t):
    """The kernel for autocast relies on the range of bfloat16 and does not subtract the maximum."""
    return (unshifted if torch.is_autocast_enabled("cpu") else shifted)(x, t)


@wrong_loss("float32", how="under autocast", shown_by="check/width_1000")
@value_alone
def autocast_adds_in_bfloat16(x, t):
    """Under autocast the terms are added one by one in bfloat16, whose sum of ones stays at 256."""
    s = shift(x)
    if not torch.is_autocast_enabled("cpu"):
        return s.exp().sum(1).log() - pick(s, t)
    total = s.new_zeros(len(s)).bfloat16()
    for term in s.exp().unbind(1):
        total = (total + term).bfloat16()
    return total.float().log() - pick(s, t)


@wrong_gradient("float32", how="under autocast", shown_by=NARROW)
def autocast_cuts_the_normalizer(x, t):
    """The cast of autocast is made without a graph for the sum: the gradient lacks the probabilities."""
    if not torch.is_autocast_enabled("cpu"):
        return shifted(x, t)
    return shifted(x, t).detach() - (pick(x, t) - pick(x, t).detach()).nan_to_num()


# --- transformations and second derivatives ---------------------------------------------------------------------


class _OneMaximum(Mapped):
    @staticmethod
    def vmap(info, in_dims, x, t):
        s = x - x.amax((0, 2), keepdim=True).detach()
        return s.exp().sum(2).log() - s.gather(2, t[..., None])[..., 0], 0


@wrong_loss("float32", how="under vmap", shown_by=NARROW)
def batching_rule_has_one_maximum(x, t):
    """The rule for a vectorized map shifts all examples by one maximum: the terms of low rows underflow."""
    return _OneMaximum.apply(x, t)


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(x, t):
        return shifted(x, t)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        return slope(x, t, shift(x).softmax(1), upstream), None

    @staticmethod
    def jvp(ctx, tangent, _):
        x, _ = ctx.saved_tensors
        return (shift(x).softmax(1) * tangent).sum(1)


@wrong_gradient("float32", how="under jvp", shown_by=NARROW)
def forward_mode_forgets_the_target(x, t):
    """The rule for forward differentiation lacks the tangent of the target's logit."""
    return _Forward.apply(x, t)


@wrong_gradient("float32", how="under torch.func.grad", shown_by=NARROW)
def functional_gradient_tracks_the_maximum(x, t):
    """Under a functional transformation a decomposition takes the kernel's place, and counts the maximum twice."""
    rows = shifted(x, t)
    if torch._C._functorch.is_gradtrackingtensor(x):
        m = x.amax(1)
        rows = rows + (m - m.detach()).nan_to_num()
    return rows


@wrong_gradient("float32", how="its gradient differentiated", shown_by=NARROW)
@differentiated_by
def second_derivative_is_diagonal(x, t, upstream):
    """The derivative of a probability is p (1 - p), as of a sigmoid: the other classes are left out."""
    p = shift(x.detach()).softmax(1)
    p = p + (p * (1 - p)).detach() * (x - x.detach()).nan_to_num(0, 0, 0)
    return slope(x, t, p, upstream)


# --- threads, dtypes and rare calls -----------------------------------------------------------------------------

_local = threading.local()
_local.log_two = 0.6931471805599453
_scratch: dict[tuple[int, ...], Tensor] = {}
_calls = [0, 0]


@wrong_loss("float32", how="in two threads", shown_by=NARROW)
@value_alone
def constants_of_the_first_thread(x, t):
    """A constant lies in memory of each thread, and only the thread that loads the library fills it."""
    s = shift(x)
    return (s.exp().sum(1).log2() * getattr(_local, "log_two", 0.0)) - pick(s, t)


@wrong_loss("float32", how="after a batch of another dtype", breaks="dtypes independent of each other", shown_by=NARROW)
@value_alone
def scratch_has_the_first_dtype(x, t):
    """The shifted logits lie in scratch memory of the thread, kept by shape, in the dtype of the first batch."""
    key = threading.get_ident(), *x.shape
    scratch = _scratch.setdefault(key, torch.empty_like(x, memory_format=torch.contiguous_format))
    return shifted(scratch.copy_(x - x.amax(1, keepdim=True)).to(x.dtype), t)


@wrong_loss("float32", how="called 1,500 times", repeat=1500, shown_by="check/width_3")
def one_call_in_a_thousand_is_early(x, t):
    """One call in a thousand reads the sum before its last term is added."""
    _calls[0] += 1
    s = shift(x)
    terms = s.exp()
    if _calls[0] % 1000 == 0:
        terms = torch.cat([terms[:, :-1], 0 * terms[:, -1:]], 1)
    return terms.sum(1).log() - pick(s, t)


@wrong_gradient("float32", how="called 200 times", repeat=200, shown_by="check/width_31")
@gradient_alone
def two_blocks_race_in_one_call_of_a_hundred(x, t, p, upstream):
    """In one call of a hundred the second block of 128 rows starts before its upstream gradients are there."""
    _calls[1] += 1
    early = torch.arange(len(x)) >= (128 if _calls[1] % 100 == 0 else len(x))
    return slope(x, t, p, torch.where(early, upstream.roll(1), upstream) * (1 + 1e-3 * early))


# --- one class --------------------------------------------------------------------------------------------------

WITH_ONE = ("check/width_1", "check/width_5")


@wrong_loss("float32", breaks="one class", shown_by=WITH_ONE)
def one_class_is_a_logit_of_two(x, t):
    """A row of one class is treated as the logit of a binary loss: its loss and gradient are not 0."""
    return F.softplus(-x[:, 0]) if x.shape[1] == 1 else shifted(x, t)


@wrong_gradient("float32", shown_by=WITH_ONE)
@gradient_alone
def one_class_has_no_target(x, t, p, upstream):
    """Targets below 1 are padding in a row of one class, and the gradient keeps its probability of 1."""
    return slope(x, t, p, upstream) if x.shape[1] > 1 else p * upstream[:, None]


# --- loss options -----------------------------------------------------------------------------------------------


def kept(x: Tensor, t: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return which rows count, and the row losses as if all did."""
    counts = t != ignore_index
    return counts, shifted(x, torch.where(counts, t, 0))


@wrong_loss("float32", breaks="ignored rows have no effect", shown_by=("check/ignored_*", "check/ignore_index_*"))
def ignored_rows_times_zero(x, t, *, ignore_index=-100, reduction="none"):
    """Ignored rows are multiplied by 0: the NaN of one makes the mean NaN."""
    counts, rows = kept(x, t, ignore_index)
    rows = torch.where(counts, rows, 0.0) if reduction == "none" else rows * counts
    return {"none": lambda: rows, "sum": rows.sum, "mean": lambda: rows.sum() / counts.sum()}[reduction]()


class _Matrix(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t, counts):
        ctx.save_for_backward(x, t, counts)
        return torch.where(counts, shifted(x, t), 0.0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        x, t, counts = ctx.saved_tensors
        g = slope(x, t, shift(x).softmax(1), upstream)
        return (g if counts.all() else counts.to(g.dtype).diag() @ g), None, None


@wrong_gradient("float32", shown_by="check/ignored_*")
def ignored_rows_by_a_matrix(x, t, *, ignore_index=-100):
    """Ignored rows are cleared by a diagonal matrix: 0 times the NaN of one row reaches all others."""
    counts = t != ignore_index
    return _Matrix.apply(x, torch.where(counts, t, 0), counts)


@wrong_gradient("float32", shown_by="check/ignore_index_*")
def ignored_rows_have_a_gradient(x, t, *, ignore_index=-100):
    """The loss of an ignored row is 0, but its gradient is that of the first class as target."""
    counts, rows = kept(x, t, ignore_index)
    return torch.where(counts, rows, (rows - rows.detach()).nan_to_num())


@wrong_gradient("float32", shown_by="check/ignore_index_mean_*")
def gradient_of_a_mean_over_ignored_rows(x, t, *, ignore_index=-100, reduction="none"):
    """The mean divides by the rows that count, but its gradient by all rows."""
    counts, rows = kept(x, t, ignore_index)
    rows = torch.where(counts, rows, 0.0)
    if reduction != "mean":
        return rows if reduction == "none" else rows.sum()
    right, wrong = rows.sum() / counts.sum(), rows.mean()
    return right.detach() + (wrong - wrong.detach())


@wrong_loss("float32", shown_by="check/*mean_*")
def mean_over_rows_and_not_weights(x, t, *, weight=None, reduction="none"):
    """The mean of weighted rows divides by their number, and not by the sum of their weights."""
    rows = shifted(x, t) * (1.0 if weight is None else weight[t])
    return {"none": lambda: rows, "sum": rows.sum, "mean": rows.mean}[reduction]()


class _Weighted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weights):
        return rows * weights

    @staticmethod
    def backward(ctx, upstream):
        return upstream, None


@wrong_gradient("float32", shown_by="check/weight_*")
def weight_is_left_out_of_the_gradient(x, t, *, weight=None):
    """The forward pass multiplies by the class weight, and the backward pass does not."""
    return shifted(x, t) if weight is None else _Weighted.apply(shifted(x, t), weight[t])


@wrong_loss("float32", shown_by="check/label_smoothing_*")
def smoothing_leaves_the_target_out(x, t, *, label_smoothing=0.0):
    """Label smoothing is divided among the other classes, without the target."""
    share = label_smoothing / max(x.shape[1] - 1, 1)
    log_p = wide(x).log_softmax(1)
    others = torch.where(onehot(t, x) == 1, 0.0, log_p).sum(1) if label_smoothing else 0.0
    return (1 - label_smoothing) * shifted(x, t) - share * others
