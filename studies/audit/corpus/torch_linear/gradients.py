"""PyTorch losses of hidden states that are right, with one defect each in their gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch.autograd.function import once_differentiable

from .. import wrong_gradient
from ..torch.parts import wide
from .parts import ROWS, TILE, gradients, logits, of_slopes, parts, right, slopes, tiles

MEAN = {"returns": "mean"}

# --- the upstream gradient --------------------------------------------------------------------------------------


@wrong_gradient("float32")
def upstream_is_ignored(hidden, weight, targets):
    """The backward pass returns what the forward pass has computed."""
    return parts(
        hidden, weight, targets, gradient=lambda s: gradients(s._replace(upstream=torch.ones_like(s.upstream)))
    )


@wrong_gradient("float32")
def upstream_reaches_hidden_alone(hidden, weight, targets):
    """The weight's gradient is not scaled."""

    def gradient(s):
        return of_slopes(s, slopes(s), slopes(s._replace(upstream=torch.ones_like(s.upstream))))

    return parts(hidden, weight, targets, gradient=gradient)


@wrong_gradient("float32")
def upstream_of_the_first_row(hidden, weight, targets):
    """One number is read from the upstream gradient, as of a mean."""
    return parts(
        hidden, weight, targets, gradient=lambda s: gradients(s._replace(upstream=s.upstream[:1].expand(len(s.p))))
    )


@wrong_gradient("float32")
def upstream_is_averaged(hidden, weight, targets):
    """The rows' upstream gradients are replaced by their mean in the weight's gradient."""

    def gradient(s):
        return of_slopes(s, slopes(s), slopes(s._replace(upstream=s.upstream.mean().expand(len(s.p)))))

    return parts(hidden, weight, targets, gradient=gradient)


class _InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any) -> Any:
        p = logits(hidden, weight).softmax(1)
        g = p - F.one_hot(targets, p.shape[1]).to(p.dtype)
        ctx.kept = [(g @ wide(weight)).to(hidden.dtype), (g.T @ wide(hidden)).to(hidden.dtype)]
        return right(hidden, weight, targets).sum().to(hidden.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Any) -> Any:
        for gradient in ctx.kept:
            gradient.mul_(upstream[0])
        return (*(gradient.clone() for gradient in ctx.kept), None)


@wrong_gradient("float32", arguments={"returns": "sum"}, how="differentiated a second time")
def gradient_is_scaled_in_place(hidden, weight, targets):
    """The gradients of the forward pass are scaled in place, and a second backward pass scales them again."""
    return _InPlace.apply(hidden, weight, targets)


# --- tiles and chunks -------------------------------------------------------------------------------------------


@wrong_gradient("float32")
def hidden_gradient_is_overwritten(hidden, weight, targets):
    """Each tile of classes stores its part of the gradient by hidden states instead of adding it."""

    def gradient(s):
        g = slopes(s)
        *_, last = tiles(g.shape[1])
        return g[:, last] @ wide(s.weight)[last], *gradients(s)[1:]

    return parts(hidden, weight, targets, gradient=gradient)


@wrong_gradient("float32")
def hidden_gradient_without_the_short_tile(hidden, weight, targets):
    """The gradient by hidden states adds whole tiles of classes."""

    def gradient(s):
        g = slopes(s)
        whole = g.shape[1] // TILE * TILE or g.shape[1]
        return g[:, :whole] @ wide(s.weight)[:whole], *gradients(s)[1:]

    return parts(hidden, weight, targets, gradient=gradient)


@wrong_gradient("float32")
def weight_gradient_of_the_last_chunk(hidden, weight, targets):
    """Each chunk of rows overwrites the weight's gradient."""

    def gradient(s):
        g, start = slopes(s), (len(s.p) - 1) // ROWS * ROWS
        return g @ wide(s.weight), g[start:].T @ wide(s.hidden)[start:], g.sum(0)

    return parts(hidden, weight, targets, gradient=gradient)


@wrong_gradient("float32")
def weight_gradient_without_the_short_chunk(hidden, weight, targets):
    """The rows after the last whole chunk add nothing to the weight's gradient."""

    def gradient(s):
        g, whole = slopes(s), len(s.p) // ROWS * ROWS or len(s.p)
        return g @ wide(s.weight), g[:whole].T @ wide(s.hidden)[:whole], g.sum(0)

    return parts(hidden, weight, targets, gradient=gradient)


@wrong_gradient("float32", shown_by="check/linear_b33_h33_c33")
def square_weight_gradient_is_transposed(hidden, weight, targets):
    """The weight's gradient is written by columns; only a square one has the right shape without a copy."""

    def gradient(s):
        of_hidden, of_weight, of_bias = gradients(s)
        return of_hidden, of_weight.T if of_weight.shape[0] == of_weight.shape[1] else of_weight, of_bias

    return parts(hidden, weight, targets, gradient=gradient)


@wrong_gradient("float32")
def target_is_subtracted_in_the_first_tile(hidden, weight, targets):
    """The one-hot is subtracted from the first tile only."""

    def gradient(s):
        one = F.one_hot(s.targets, s.p.shape[1]).to(s.p.dtype)
        one[:, TILE:] = 0
        return of_slopes(s, slopes(s), (s.p - one) * s.upstream[:, None])

    return parts(hidden, weight, targets, gradient=gradient)


@wrong_gradient("bfloat16", "float32")
def small_derivatives_are_filtered(hidden, weight, targets):
    """Derivatives below a bfloat16 epsilon are skipped, though many of them add up."""

    def gradient(s):
        g = slopes(s)
        return of_slopes(s, g.where(g.abs() >= 2.0**-7, 0.0))

    return parts(hidden, weight, targets, gradient=gradient)


# --- precision --------------------------------------------------------------------------------------------------


def accumulated(s, dtype):
    """Return the weight's gradient, added up row by row in a dtype."""
    g, total = slopes(s), torch.zeros(s.weight.shape, dtype=dtype)
    for row, h in zip(g, wide(s.hidden), strict=True):
        total += torch.outer(row, h).to(dtype)
    return total


@wrong_gradient("bfloat16", shown_by="check/linear_many_rows")
def weight_gradient_adds_up_in_bfloat16(hidden, weight, targets):
    """The accumulator of the weight's gradient has the weight's dtype, bfloat16."""
    dtype = torch.bfloat16 if hidden.dtype == torch.bfloat16 else torch.float32
    return parts(hidden, weight, targets, gradient=lambda s: (gradients(s)[0], accumulated(s, dtype), None))


@wrong_gradient("float16", shown_by="check/linear_many_rows")
def weight_gradient_adds_up_in_float16(hidden, weight, targets):
    """The accumulator of the weight's gradient has the weight's dtype, float16."""
    dtype = torch.float16 if hidden.dtype == torch.float16 else torch.float32
    return parts(hidden, weight, targets, gradient=lambda s: (gradients(s)[0], accumulated(s, dtype), None))


@wrong_gradient("bfloat16", "float16")
def logits_are_rounded_in_the_backward_pass(hidden, weight, targets):
    """The backward pass computes the logits again, in the dtype."""

    def gradient(s):
        return gradients(s._replace(p=wide(F.linear(s.hidden, s.weight)).softmax(1)))

    return parts(hidden, weight, targets, gradient=gradient)


# --- bias -------------------------------------------------------------------------------------------------------


@wrong_gradient("float32")
def bias_has_no_gradient(hidden, weight, targets, bias=None):
    """The gradient by the bias is 0."""
    return parts(
        hidden, weight, targets, bias, gradient=lambda s: (*gradients(s)[:2], None if bias is None else 0 * s.bias)
    )


@wrong_gradient("float32")
def bias_is_forgotten_in_the_backward_pass(hidden, weight, targets, bias=None):
    """The backward pass computes the softmax again, without the bias."""
    return parts(
        hidden, weight, targets, bias,
        gradient=lambda s: gradients(s._replace(p=logits(s.hidden, s.weight).softmax(1))),
    )  # fmt: skip


@wrong_gradient("float32")
def bias_gradient_of_the_last_chunk(hidden, weight, targets, bias=None):
    """Each chunk of rows overwrites the gradient by the bias."""

    def gradient(s):
        start = (len(s.p) - 1) // ROWS * ROWS
        return *gradients(s)[:2], slopes(s)[start:].sum(0)

    return parts(hidden, weight, targets, bias, gradient=gradient)


# --- means ------------------------------------------------------------------------------------------------------


@wrong_gradient("float32", arguments=MEAN)
def mean_is_divided_in_each_chunk(hidden, weight, targets):
    """The weight's gradient of a mean is divided by the rows of each chunk."""

    def gradient(s):
        g = slopes(s)
        sizes = torch.cat([torch.full((len(c),), float(len(c))) for c in g.split(ROWS)]).to(g.dtype)
        return of_slopes(s, g, g * (len(g) / sizes)[:, None])

    return parts(hidden, weight, targets, gradient=gradient).mean()


@wrong_gradient("float32", arguments=MEAN)
def hidden_gradient_of_a_mean_is_a_sum(hidden, weight, targets):
    """The gradient by hidden states is not divided by the number of rows."""

    def gradient(s):
        return of_slopes(s, slopes(s) * len(s.p), slopes(s))

    return parts(hidden, weight, targets, gradient=gradient).mean()


# --- calls and memory -------------------------------------------------------------------------------------------

_BUFFER: dict[str, torch.Tensor] = {}


@wrong_gradient("float32", how="another batch before its gradients")
def softmax_is_kept_in_a_buffer(hidden, weight, targets):
    """The softmax lies in one buffer for all calls until the backward pass."""
    _BUFFER["p"] = logits(hidden, weight).softmax(1).detach()
    return parts(hidden, weight, targets, gradient=lambda s: gradients(s._replace(p=_BUFFER["p"])))


class _NotAlone(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any) -> Any:
        ctx.save_for_backward(hidden, weight, targets)
        return right(hidden, weight, targets).to(hidden.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Any) -> Any:
        hidden, weight, targets = ctx.saved_tensors
        p = logits(hidden, weight).softmax(1)
        g = (p - F.one_hot(targets, p.shape[1]).to(p.dtype)) * wide(upstream[0])[:, None]
        scale = float(ctx.needs_input_grad[0])  # the weight's gradient is made from what the other one has left
        return (g @ wide(weight)).to(hidden.dtype), scale * (g.T @ wide(hidden)).to(hidden.dtype), None


@wrong_gradient("float32", how="a gradient by weight alone")
def frozen_hidden_states_stop_the_weight(hidden, weight, targets):
    """The weight's gradient is 0 if no gradient by hidden states is needed."""
    return _NotAlone.apply(hidden, weight, targets)


@wrong_gradient("float32", writes=True)
def weight_is_overwritten_by_its_gradient(hidden, weight, targets):
    """The backward pass writes the gradient into the saved weight, to save memory."""

    def gradient(s):
        found = gradients(s)
        s.weight.data.copy_(found[1])
        return found

    return parts(hidden, weight, targets, gradient=gradient)


@wrong_gradient("float32", how="transposed memory")
def gradient_of_transposed_hidden_is_out_of_place(hidden, weight, targets):
    """The gradient by hidden states stored by columns is written as if they were stored by rows."""

    def gradient(s):
        of_hidden, *others = gradients(s)
        if len(s.hidden) > 1 and s.hidden.shape[1] > 1 and s.hidden.stride(0) == 1:
            of_hidden = of_hidden.reshape(-1).reshape(s.hidden.shape[::-1]).T
        return of_hidden, *others

    return parts(hidden, weight, targets, gradient=gradient)
