"""PyTorch losses with right values whose backward pass misuses its upstream gradient or its saved tensors."""

from __future__ import annotations

import torch

from .. import wrong_gradient
from .parts import gradient_alone, onehot, shift, shifted, slope

# --- the upstream gradient --------------------------------------------------------------------------------------


@wrong_gradient("float32", breaks="gradient passed on from above")
@gradient_alone
def upstream_is_ignored(x, t, p, upstream):
    """The gradient ignores the upstream weights, as if each were 1."""
    return p - onehot(t, p)


@wrong_gradient("float32", seen="linkedin/Liger-Kernel#1298")
@gradient_alone
def first_upstream_for_all(x, t, p, upstream):
    """All rows are multiplied by the first one's upstream gradient."""
    return (p - onehot(t, p)) * upstream[:1]


@wrong_gradient("float32")
@gradient_alone
def mean_of_the_upstream(x, t, p, upstream):
    """All rows are multiplied by the mean upstream gradient."""
    return (p - onehot(t, p)) * upstream.mean()


@wrong_gradient("float32")
@gradient_alone
def upstream_loses_its_sign(x, t, p, upstream):
    """The upstream gradient is treated as a weight, which loses its sign."""
    return (p - onehot(t, p)) * upstream.abs()[:, None]


@wrong_gradient("float32")
@gradient_alone
def upstream_twice(x, t, p, upstream):
    """The upstream gradient is multiplied in twice."""
    return (p - onehot(t, p)) * (upstream**2)[:, None]


@wrong_gradient("float32", shown_by="check/width_65")
@gradient_alone
def upstream_of_one_is_a_short_cut(x, t, p, upstream):
    """No row is multiplied if the first row's upstream gradient is 1."""
    g = p - onehot(t, p)
    return g if len(g) and upstream[0] == 1 else g * upstream[:, None]


@wrong_gradient("float32", seen="ROCm/TransformerEngine#623", how="under the upstream gradient 1/2")
@gradient_alone
def upstream_stride_is_ignored(x, t, p, upstream):
    """A sum passes one number with stride 0 for all rows, which is read as one number for each row."""
    memory = upstream.new_empty(0).set_(upstream.untyped_storage())
    return (p - onehot(t, p)) * torch.nn.functional.pad(memory, (0, max(len(p) - len(memory), 0)))[: len(p), None]


@wrong_gradient("float32", how="under the upstream gradient 1/2")
@gradient_alone
def upstream_that_is_the_same_for_all_is_one(x, t, p, upstream):
    """An upstream gradient that is equal in all rows is treated as 1, as from a sum; a mean passes 1 / B."""
    same = len(upstream) > 1 and bool((upstream == upstream[0]).all())
    return slope(x, t, p, torch.ones_like(upstream) if same else upstream)


@wrong_gradient("float32", how="its losses weighted, alone")
@gradient_alone
def upstream_of_a_single_row_is_ignored(x, t, p, upstream):
    """An upstream gradient of one number is treated as that of a scalar loss, which is 1."""
    return slope(x, t, p, upstream if len(upstream) > 1 else torch.ones_like(upstream))


@wrong_gradient("float32", how="its losses weighted")
@gradient_alone
def upstream_nan_is_zero(x, t, p, upstream):
    """A NaN in the upstream gradient becomes 0, so the layers below continue training."""
    return slope(x, t, p, upstream.nan_to_num(0.0))


@wrong_gradient("float32", how="its losses weighted")
@gradient_alone
def upstream_in_half(x, t, p, upstream):
    """The upstream gradient goes through float16."""
    return (p - onehot(t, p)) * upstream.half().float()[:, None]


@wrong_gradient("float32", how="its losses weighted")
@gradient_alone
def upstream_is_whole(x, t, p, upstream):
    """The upstream gradient is treated as a count of tokens and rounded to an integer."""
    return (p - onehot(t, p)) * upstream.round()[:, None]


@wrong_gradient("float32", how="its losses weighted")
@gradient_alone
def gradient_is_clipped(x, t, p, upstream):
    """Entries are clipped to a thousand, which losses scaled for mixed precision exceed."""
    return (slope(x, t, p, upstream)).clamp(-1e3, 1e3)


@wrong_gradient("float32", how="its losses weighted")
@gradient_alone
def light_rows_are_skipped(x, t, p, upstream):
    """Rows with an upstream gradient below 0.01 count as ignored; a mean over a batch makes all rows so."""
    return torch.where(upstream.abs() < 1e-2, 0.0, upstream)[:, None] * (p - onehot(t, p))


@wrong_gradient("float32", how="its losses weighted")
@gradient_alone
def rows_of_weight_zero_are_not_written(x, t, p, upstream):
    """Rows of weight 0 are skipped, and their gradient is uninitialized memory."""
    return torch.where(upstream[:, None] == 0, 1e-3, slope(x, t, p, upstream))


@wrong_gradient("float32", how="its losses weighted")
@gradient_alone
def upstream_of_the_first_512_rows(x, t, p, upstream):
    """One block loads 512 upstream gradients, and later rows are multiplied by 1."""
    return (p - onehot(t, p)) * torch.cat([upstream[:512], torch.ones_like(upstream[512:])])[:, None]


@wrong_gradient("float32")
@gradient_alone
def gradient_of_the_first_thousand_rows(x, t, p, upstream):
    """Rows after the 1000th get a gradient of 0."""
    return torch.where(torch.arange(len(p))[:, None] < 1000, slope(x, t, p, upstream), 0.0)


# --- memory -----------------------------------------------------------------------------------------------------


@wrong_gradient("float32", how="transposed")
@gradient_alone
def written_row_after_row(x, t, p, upstream):
    """The gradient has the strides of the logits but is written as if its rows were contiguous."""
    found = torch.empty_like(x)
    memory = found.as_strided((found.numel(),), (1,))
    memory.copy_((slope(x, t, p, upstream)).flatten())
    return found


@wrong_gradient("float32", seen="unslothai/unsloth#5002", writes=True)
@gradient_alone
def gradient_takes_the_place_of_the_logits(x, t, p, upstream):
    """The backward pass writes its result over the caller's logits."""
    return x.data.copy_(slope(x, t, p, upstream))


# --- what the forward pass has kept -----------------------------------------------------------------------------


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        ctx.made = slope(x, t, shift(x).softmax(1), torch.ones_like(x[:, 0]))
        return shifted(x, t)

    @staticmethod
    def backward(ctx, upstream):
        return ctx.made.mul_(upstream[:, None]), None


@wrong_gradient("float32", how="differentiated twice")
def gradient_is_scaled_in_place(x, t):
    """The forward pass computes the gradient and the backward pass scales it in place: right only once."""
    return _Scaled.apply(x, t)


class _Shared(torch.autograd.Function):
    PROBABILITIES = torch.zeros(0)

    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(t)
        _Shared.PROBABILITIES = shift(x).softmax(1)
        return shifted(x, t)

    @staticmethod
    def backward(ctx, upstream):
        (t,) = ctx.saved_tensors
        return slope(None, t, _Shared.PROBABILITIES, upstream), None


@wrong_gradient("float32", how="another batch in between", breaks="calls independent of each other")
def probabilities_of_the_latest_call(x, t):
    """The next forward pass overwrites the saved probabilities: two losses, then a backward pass."""
    return _Shared.apply(x, t)


class _Targets(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x)
        ctx.t = t
        loss = shifted(x, t)
        t.zero_()  # scratch space, once the target logits are read
        return loss

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return slope(x, ctx.t, shift(x).softmax(1), upstream), None


@wrong_gradient("float32")
def targets_are_scratch_space(x, t):
    """The forward pass reuses the targets' memory, which the backward pass reads again."""
    return _Targets.apply(x, t)


@wrong_gradient("float32")
def gradient_of_the_detached_copy(x, t):
    """All rows but the first use a detached copy of the logits: only the first has a gradient."""
    return shifted(torch.cat([x[:1], x[1:].detach()]), t)
