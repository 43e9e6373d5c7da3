"""Right PyTorch losses, each with a different method."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
import torch.utils.checkpoint
from torch.autograd.function import once_differentiable

from .. import sound
from .parts import INF, gradient_alone, pick, shift, shifted, slope, value_alone, wide

ALL = ("float16", "bfloat16", "float32", "float64")
# Not rows of one class, where the loss or the gradient of these has grade F.
SEVERAL_CLASSES = ("seed/article", "masks/first", "check/width_5", "check/width_33", "check/gaps_2")


@sound("float32", "float64")
def builtin(x, t):
    """The loss of PyTorch."""
    return F.cross_entropy(x, t, reduction="none")


@sound(*ALL)
def through_a_wider_dtype(x, t):
    """The loss of PyTorch, in the next wider dtype if there is one."""
    return F.cross_entropy(wide(x), t, reduction="none").to(x.dtype)


@sound(*ALL)
def target_shifted_too(x, t):
    """log-sum-exp of shifted logits less the shifted target."""
    return shifted(x, t)


@sound(*ALL)
def picked_from_log_softmax(x, t):
    """The target's entry of a log-softmax in at least float32."""
    return -pick(wide(x).log_softmax(1), t).to(x.dtype)


@sound(*ALL)
@value_alone
def maximum_taken_out(x, t):
    """log1p of the sum of the others: the maximum's own 1 is never added."""
    x = wide(x)
    m, i = x.max(1)
    others = torch.scatter((x - m[:, None]).exp(), 1, i[:, None], torch.zeros_like(m)[:, None]).sum(1)
    return torch.where(m.isnan(), m, others.log1p() + (m - pick(x, t)))


@sound(*ALL)
@gradient_alone
def backward_by_hand(x, t, p, upstream):
    """softmax less one-hot, times the upstream gradient."""
    return slope(x, t, p, upstream)


@sound(*ALL)
@gradient_alone
def backward_from_saved_sums(x, t, p, upstream):
    """Maximum and sum are saved, and the probabilities are computed again from the logits in tiles."""
    m = wide(x).amax(1, keepdim=True)
    total = (wide(x) - m).exp().sum(1, keepdim=True)
    return slope(x, t, torch.cat([(tile - m).exp() / total for tile in wide(x).split(100, 1)], 1), upstream)


class _MadeInForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        one = torch.ones_like(wide(x)[:, 0])
        ctx.save_for_backward(slope(x, t, shift(x).softmax(1), one))
        ctx.dtype = x.dtype
        return shifted(x, t)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (made,) = ctx.saved_tensors
        return (made * upstream[:, None]).to(ctx.dtype), None


@sound(*ALL)
def gradient_made_in_the_forward_pass(x, t):
    """The forward pass computes the gradient, and the backward pass multiplies a copy."""
    return _MadeInForward.apply(x, t)


@sound(*ALL)
def online_in_tiles(x, t, block=128):
    """Maximum and sum tile by tile; the maximum starts at the lowest number, so that -inf less it is -inf."""
    x = wide(x)
    m = x.new_full(x.shape[:1], torch.finfo(x.dtype).min)
    s = torch.zeros_like(m)
    for tile in x.split(block, 1):
        new = torch.maximum(m, tile.amax(1).detach())
        s = s * (m - new).exp() + (tile - new[:, None]).exp().sum(1)
        m = new
    return s.log() - (pick(x, t) - m)


@sound(*ALL)
@value_alone
def parts_merged_in_pairs(x, t):
    """Maximum and sum of eight parts are merged in pairs; parts that are entirely -inf do not count."""
    pairs = []
    for part in wide(x).tensor_split(min(8, x.shape[1]), 1):
        m = part.amax(1)
        pairs.append((m, (part - m.masked_fill(m == -INF, 0)[:, None]).exp().sum(1)))
    while len(pairs) > 1:
        merged = []
        for (a, s), (b, r) in zip(pairs[::2], pairs[1::2], strict=False):
            m = torch.maximum(a, b)
            over = m.masked_fill(m == -INF, 0)
            merged.append((m, s * (a - over).exp() + r * (b - over).exp()))
        pairs = merged + pairs[2 * len(merged) :]
    ((m, s),) = pairs
    return s.log() - (pick(wide(x), t) - m)


@sound(*ALL)
def rows_in_chunks(x, t, chunk=50):
    """A few rows at a time, including the last ones."""
    parts = [shifted(a, b) for a, b in zip(x.split(chunk), t.split(chunk), strict=True)]
    return torch.cat(parts) if parts else shifted(x, t)


@sound("float32", "float64")
@value_alone
def powers_of_two(x, t):
    """exp2 and log2, with log2(e) and ln 2 to all digits."""
    s = shift(x)
    return (s * math.log2(math.e)).exp2().sum(1).log2() * math.log(2) - pick(s, t)


@sound("float16", "bfloat16", "float32")
def in_float64(x, t):
    """In float64, rounded once."""
    return shifted(x.double(), t).to(x.dtype)


@sound("float16", "bfloat16")
def answered_in_float32(x, t):
    """Takes half precision and returns float32."""
    return shifted(x.float(), t)


@sound(*ALL)
def smallest_first(x, t):
    """Logits are sorted before they are summed."""
    s = shift(x)
    return (s.sort(1).values.exp().sum(1).log() - pick(s, t)).to(x.dtype)


@sound(*ALL, shown_by=SEVERAL_CLASSES)
def tree_of_log_add_exp(x, t):
    """Pairs of logits are merged by logaddexp."""
    s = shift(x)
    # The gradient of logaddexp is NaN where both are -inf.
    parts = list(torch.where(s == -INF, torch.finfo(s.dtype).min, s).unbind(1))
    while len(parts) > 1:
        merged = [torch.logaddexp(a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = merged + parts[2 * len(merged) :]
    return (parts[0] - pick(s, t)).to(x.dtype)


@sound(*ALL, shown_by=SEVERAL_CLASSES)
@value_alone
def target_against_the_rest(x, t):
    """A binary loss of the target against the log-sum-exp of the other classes."""
    x = wide(x)
    s = x - pick(x, t)[:, None]
    others = s.scatter(1, t[:, None], -INF).logsumexp(1)
    return F.softplus(others, threshold=50)


@sound(*ALL)
def chunks_under_a_checkpoint(x, t, chunk=8):
    """A few rows at a time, each chunk computed again in the backward pass."""
    parts = [
        torch.utils.checkpoint.checkpoint(shifted, a, b, use_reentrant=False)
        for a, b in zip(x.split(chunk), t.split(chunk), strict=True)
    ]
    return torch.cat(parts)


@sound("float32", "float64")
def mapped_over_rows(x, t):
    """A loss of one row, mapped over the batch."""
    return torch.func.vmap(lambda s, target: s.logsumexp(0) - s.take_along_dim(target[None], 0)[0])(shift(x), t)


@sound("float32", shown_by=("check/mean_*", "check/sum_*", "check/ignore_index_*"))
def mean_times_the_number_of_rows(x, t, *, ignore_index=-100, reduction="none"):
    """A sum is the mean times the number of rows that count."""
    kept = x.masked_fill((t == ignore_index)[:, None], 0.0)
    if reduction != "sum":
        return F.cross_entropy(kept, t, ignore_index=ignore_index, reduction=reduction)
    return F.cross_entropy(kept, t, ignore_index=ignore_index) * (t != ignore_index).sum()


@sound("float32", "float64")
def refuses_in_clear_words(x, t):
    """Raises for each kind of call that it does not support."""
    if len(x) == 0:
        raise ValueError("the batch is empty")
    if t.dtype != torch.int64:
        raise TypeError(f"expected int64 targets, got {t.dtype}")
    if torch._C._functorch.is_batchedtensor(x):
        raise NotImplementedError("torch.func.vmap is not supported")
    return _MadeInForward.apply(x, t)


@sound("float32", "bfloat16", shown_by=("softcap/s*", "softcap/f*", "softcap/m*", "scaling/h*", "z_loss/[lnc]*"))
def scaled_capped_and_squared(x, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """Each option is applied in float32, in the order of its definition."""
    z = wide(x) if logit_scale is None else wide(x) * logit_scale
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    rows = -torch.log_softmax(z, 1).gather(1, t[:, None]).squeeze(1)
    return (rows + z_loss * z.logsumexp(1) ** 2).to(x.dtype)
