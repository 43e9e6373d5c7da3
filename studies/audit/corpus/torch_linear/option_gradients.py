"""PyTorch losses of hidden states with right values, whose loss options are wrong in a gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from .. import wrong_gradient
from ..torch.parts import pick, wide
from .parts import logits, of_slopes, parts, right, slopes


@wrong_gradient("float32")
def ignored_rows_are_in_the_weight_gradient(hidden, weight, targets, ignore_index=-100):
    """An ignored row has no gradient by its hidden state, and its softmax still reaches the weight."""
    kept = targets != ignore_index

    def gradient(s):
        g = slopes(s)
        return of_slopes(s, g.where(kept[:, None], 0.0), g.where(kept[:, None], s.p * s.upstream[:, None]))

    def value(h, w, t, b):
        return right(h, w, t, b).where(kept, 0.0)

    return parts(hidden, weight, targets.where(kept, 0), value=value, gradient=gradient)


@wrong_gradient("float32")
def slope_of_the_cap_is_missing_for_the_weight(hidden, weight, targets, softcap=None):
    """The derivative of the softcap is applied for the hidden states and not for the weight."""
    if softcap is None:
        return right(hidden, weight, targets).to(hidden.dtype)

    def capped(h, w):
        return softcap * torch.tanh(logits(h, w) / softcap)

    def gradient(s):
        g = slopes(s._replace(p=capped(s.hidden, s.weight).softmax(1)))
        return of_slopes(s, g * (1 - torch.tanh(logits(s.hidden, s.weight) / softcap) ** 2), g)

    def value(h, w, t, b):
        return capped(h, w).logsumexp(1) - pick(capped(h, w), t)

    return parts(hidden, weight, targets, value=value, gradient=gradient)


def with_z_loss(z_loss):
    """Return the loss with a z-loss, for `parts`."""
    return lambda h, w, t, b: right(h, w, t, b) + z_loss * logits(h, w).logsumexp(1) ** 2


@wrong_gradient("float32")
def z_loss_has_no_gradient(hidden, weight, targets, z_loss=0.0):
    """The z-loss is added to the loss alone."""
    return parts(hidden, weight, targets, value=with_z_loss(z_loss))


@wrong_gradient("float32")
def z_loss_reaches_hidden_alone(hidden, weight, targets, z_loss=0.0):
    """The derivative of the z-loss is missing in the weight's gradient."""

    def gradient(s):
        lse = logits(s.hidden, s.weight).logsumexp(1)
        more = (2 * z_loss * lse * s.upstream)[:, None] * s.p
        return of_slopes(s, slopes(s) + more, slopes(s))

    return parts(hidden, weight, targets, value=with_z_loss(z_loss), gradient=gradient)


@wrong_gradient("float32")
def smoothing_has_no_gradient(hidden, weight, targets, label_smoothing=0.0):
    """The gradient is that of hard targets."""

    def value(h, w, t, b):
        z = logits(h, w)
        return F.cross_entropy(z, t, label_smoothing=label_smoothing, reduction="none")

    return parts(hidden, weight, targets, value=value)


@wrong_gradient("float32")
def class_weights_reach_hidden_alone(hidden, weight, targets, class_weight=None):
    """The class weights are missing in the weight's gradient."""
    factor = wide(class_weight)[targets] if class_weight is not None else torch.ones(len(hidden), dtype=hidden.dtype)

    def gradient(s):
        return of_slopes(s, slopes(s) * factor[:, None], slopes(s))

    return parts(hidden, weight, targets, value=lambda h, w, t, b: right(h, w, t, b) * factor, gradient=gradient)
