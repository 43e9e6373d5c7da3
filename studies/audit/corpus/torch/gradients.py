"""PyTorch losses with right values and a wrong formula for the gradient."""

from __future__ import annotations

import torch

from .. import wrong_gradient
from .parts import INF, gradient_alone, onehot, pick, shift, shifted, wide

# --- the formula ------------------------------------------------------------------------------------------------


@wrong_gradient("float32", "float16")
@gradient_alone
def nothing_at_the_target(x, t, p, upstream):
    """The gradient is the probabilities, without the 1 at the target."""
    return p * upstream[:, None]


@wrong_gradient("float32", shown_by="check/width_4097")
@gradient_alone
def one_in_every_tile(x, t, p, upstream, block=4096):
    """Each tile subtracts 1 at the target's place within a tile, which is wrong from the second tile."""
    inside = torch.arange(p.shape[1]) % block == (t % block)[:, None]
    return (p - inside.to(p.dtype)) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def one_at_every_class_that_ties(x, t, p, upstream):
    """The target is found by the value of its logit, which also finds classes that tie with it."""
    hot = (x == pick(x, t)[:, None]).to(p.dtype)
    return (p - hot) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def last_class_has_no_one(x, t, p, upstream):
    """The comparison that finds the target stops one class short."""
    hot = onehot(t, p)
    return (torch.cat([p[:, :-1] - hot[:, :-1], p[:, -1:]], 1) if p.shape[1] > 1 else p - hot) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def last_numbers_are_not_written(x, t, p, upstream):
    """Four numbers are written at once, and the last one to three entries of a row stay 0."""
    done = torch.arange(p.shape[1]) < max(p.shape[1] // 4 * 4, 4)
    return torch.where(done, (p - onehot(t, p)) * upstream[:, None], 0.0)


@wrong_gradient("float32", breaks="gradient is the loss's derivative")
@gradient_alone
def divided_by_the_batch(x, t, p, upstream):
    """The gradient is that of the mean, even for unreduced losses."""
    return (p - onehot(t, p)) * upstream[:, None] / max(len(p), 1)


@wrong_gradient("float32")
@gradient_alone
def smoothed(x, t, p, upstream):
    """Only the backward pass has a label smoothing of 1e-4."""
    return (p - (1 - 1e-4) * onehot(t, p) - 1e-4 / p.shape[1]) * upstream[:, None]


@wrong_gradient("float32")
def maximum_is_cut_once(x, t):
    """The maximum is detached where it is subtracted, but not where it is added back."""
    m = x.amax(1)
    s = x - m.detach()[:, None]
    return s.exp().sum(1).log() - (pick(s, t) + m.detach()) + m


@wrong_gradient("float32", "bfloat16")
def clamp_cuts_the_gradient(x, t):
    """The value is right, but the gradient is that of logits clamped to [-20, 20]."""
    # Normally distributed logits never reach 20, so a usual test does not see it.
    right, clamped = shifted(x, t).detach(), shifted(x.clamp(-20, 20), t)
    return torch.where(right.isfinite(), right + (clamped - clamped.detach()), right)


@wrong_gradient("float32")
@gradient_alone
def maximum_takes_the_rest(x, t, p, upstream):
    """The largest class gets minus the sum of the others, before the target's 1 is subtracted."""
    top = onehot(p.argmax(1), p)
    return (torch.where(top == 1, (p * (1 - top)).sum(1, keepdim=True), p) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def ties_share_the_gradient(x, t, p, upstream):
    """Classes that tie for the maximum share their gradient, including the target's 1."""
    g, top = p - onehot(t, p), (x == x.amax(1, keepdim=True)).to(p.dtype)
    count = top.sum(1, keepdim=True)
    shared = (g * top).sum(1, keepdim=True) / count
    return torch.where((count > 1) & (top == 1), shared, g) * upstream[:, None]


# --- its numbers ------------------------------------------------------------------------------------------------


@wrong_gradient("float32", "float64", breaks="offset")
@gradient_alone
def probabilities_from_a_rounded_normalizer(x, t, p, upstream):
    """exp(x - lse), where lse is as large as the logits and rounded as they are."""
    again = (wide(x) - wide(x).logsumexp(1, keepdim=True)).exp()
    return (again - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def normalizer_saved_in_half(x, t, p, upstream):
    """Between the passes the log of the sum is kept in float16."""
    s = shift(x)
    return ((s - s.logsumexp(1, keepdim=True).half()).exp() - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32", seen="NVIDIA/TransformerEngine#3193")
@gradient_alone
def saved_in_bfloat16(x, t, p, upstream):
    """The probabilities are kept in bfloat16 between the passes, to save memory."""
    return (p.bfloat16().to(p.dtype) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def softmax_without_a_shift(x, t, p, upstream):
    """The backward pass computes the probabilities again, without subtracting the maximum."""
    e = x.exp()
    return (e / e.sum(1, keepdim=True) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32", "float64", seen="FluxML/NNlib.jl#68")
@gradient_alone
def divided_by_the_probability(x, t, p, upstream):
    """Through -1/p at the target and the softmax's own Jacobian: 0 / 0 once p underflows."""
    back = -onehot(t, p) / p
    return p * (back - (p * back).nan_to_num(0.0).sum(1, keepdim=True)) * upstream[:, None]


@wrong_gradient("float32", seen="google-deepmind/optax#1762")
@gradient_alone
def zero_times_minus_infinity(x, t, p, upstream):
    """A term that should be 0 everywhere, p (x - x), is NaN at a masked class."""
    return (p - onehot(t, p) + p * (x - x)) * upstream[:, None]


@wrong_gradient("float32", breaks="masks")
@gradient_alone
def masked_classes_are_pulled(x, t, p, upstream):
    """Masked classes get a probability of 1e-5, so that they keep learning."""
    return (torch.where(x == -INF, 1e-5, p) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def nothing_where_the_loss_is_infinite(x, t, p, upstream):
    """A row whose target is masked gets a gradient of 0, although the right one is finite."""
    lost = pick(x, t) == -INF
    return torch.where(lost[:, None], 0.0, (p - onehot(t, p)) * upstream[:, None])


@wrong_gradient("float32")
@gradient_alone
def nan_is_swallowed(x, t, p, upstream):
    """The gradient of a NaN row is 0."""
    return ((p - onehot(t, p)) * upstream[:, None]).nan_to_num(0.0)


@wrong_gradient("float32")
@gradient_alone
def small_entries_are_zero(x, t, p, upstream):
    """Entries below 1e-4 are dropped, for a sparse gradient."""
    g = p - onehot(t, p)
    return torch.where(g.abs() < 1e-4, 0.0, g) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def probabilities_have_a_floor(x, t, p, upstream):
    """Probabilities are at least 1e-7, which a usual test cannot distinguish from 0."""
    return (p.clamp(min=1e-7) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32", "float16")
@gradient_alone
def solved_rows_are_skipped(x, t, p, upstream):
    """Rows whose target has a probability above 0.95 get a gradient of 0."""
    return torch.where(pick(p, t)[:, None] > 0.95, 0.0, (p - onehot(t, p)) * upstream[:, None])


@wrong_gradient("float32")
@gradient_alone
def row_norm_is_clipped(x, t, p, upstream):
    """A row's gradient is clipped to a norm of 1, which it exceeds only for a nearly impossible target."""
    g = p - onehot(t, p)
    return g / g.norm(dim=1, keepdim=True).clamp(min=1) * upstream[:, None]


@wrong_gradient("float32", shown_by="stagnation/*_257")
@gradient_alone
def tiles_keep_their_own_maximum(x, t, p, upstream, block=256):
    """The online pass keeps each tile's exponentials, and the backward pass does not rescale earlier tiles."""
    running = torch.cat([x[:, : i + block].amax(1, keepdim=True).expand(-1, len(x[0, i : i + block]))
                         for i in range(0, x.shape[1], block)], 1)  # fmt: skip
    total = shift(x).exp().sum(1, keepdim=True)
    return ((x - running).exp().nan_to_num(0.0) / total - onehot(t, p)) * upstream[:, None]


@wrong_gradient("bfloat16", shown_by="stagnation/*_257")
@gradient_alone
def probabilities_normalized_in_low_precision(x, t, p, upstream):
    """The exponentials are added in the logits' dtype, one by one, for the backward pass."""
    e = (x - x.amax(1, keepdim=True)).exp()
    total = torch.zeros_like(e[:, :1])
    for term in e.split(1, 1):
        total = total + term
    return (wide(e / total) - onehot(t, p)) * upstream[:, None]
