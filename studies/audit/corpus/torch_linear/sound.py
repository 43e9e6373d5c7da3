"""Sound PyTorch losses of hidden states, which a check must pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from .. import sound
from ..torch.parts import pick, wide
from .parts import ROWS, TILE, logits, of_logits, of_slopes, parts, reduced, right, slopes

ALL = ("float32", "bfloat16", "float16", "float64")
TWO = ("float32", "bfloat16")


@sound(*ALL)
def unfused_in_float32(hidden, weight, targets):
    """Logits in float32, then PyTorch's loss."""
    return F.cross_entropy(logits(hidden, weight), targets, reduction="none").to(hidden.dtype)


@sound(*ALL)
def chunked_by_rows(hidden, weight, targets):
    """Chunks of rows with a short last one, and gradients in float32 that are rounded once."""

    def value(h, w, t, b):
        return torch.cat([right(x, w, y) for x, y in zip(h.split(ROWS), t.split(ROWS), strict=True)])

    def gradient(s):
        g, of_weight = slopes(s), torch.zeros_like(wide(s.weight))
        for part, h in zip(g.split(ROWS), wide(s.hidden).split(ROWS), strict=True):
            of_weight += part.T @ h
        return g @ wide(s.weight), of_weight, g.sum(0)

    return parts(hidden, weight, targets, value=value, gradient=gradient)


def online(z):
    """Return the maximum and the logsumexp less it, tile by tile."""
    m, s = z.new_full(z.shape[:1], -torch.inf), z.new_zeros(z.shape[:1])
    for tile in z.split(TILE, 1):
        new = torch.maximum(m, tile.amax(1))
        safe = new.where(new.isfinite(), 0.0)
        s = s * (m - safe).exp() + (tile - safe[:, None]).exp().sum(1)
        m = new
    return m, s.log()


@sound(*ALL)
def tiles_of_classes(hidden, weight, targets):
    """An online softmax over tiles of classes, and gradients that add up over the tiles."""

    def value(h, w, t, b):
        z = logits(h, w)
        m, rest = online(z)
        return (m - pick(z, t)) + rest

    def gradient(s):
        g = slopes(s)
        tiles = zip(g.split(TILE, 1), wide(s.weight).split(TILE), strict=True)
        return sum(part @ w for part, w in tiles), g.T @ wide(s.hidden), None

    return parts(hidden, weight, targets, value=value, gradient=gradient)


@sound(*TWO)
def with_bias(hidden, weight, targets, bias=None):
    """A bias that is added in float32."""
    return parts(hidden, weight, targets, bias)


@sound(*TWO, arguments={"returns": "mean"})
def mean_alone(hidden, weight, targets, ignore_index=-100):
    """Only the mean, without ignored rows."""
    z = logits(hidden, weight)
    return F.cross_entropy(z, targets, ignore_index=ignore_index).to(hidden.dtype)


@sound(*TWO, arguments={"weight_layout": "hc"})
def weight_by_features(hidden, weight, targets):
    """A weight (H, C)."""
    z = wide(hidden) @ wide(weight)
    return of_logits(z, targets).to(hidden.dtype)


@sound(*TWO)
def capped(hidden, weight, targets, softcap=None, logit_scale=None):
    """A logit scale and a softcap in float32."""
    z = logits(hidden, weight)
    z = z if logit_scale is None else z * logit_scale
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    return of_logits(z, targets).to(hidden.dtype)


@sound(*TWO)
def with_every_reduction(hidden, weight, targets, *, bias=None, label_smoothing=0.0, z_loss=0.0, reduction="none"):
    """Label smoothing, a z-loss and each reduction."""
    z = logits(hidden, weight, bias)
    rows = F.cross_entropy(z, targets, label_smoothing=label_smoothing, reduction="none")
    return reduced(rows + z_loss * z.logsumexp(1) ** 2, reduction).to(hidden.dtype)


@sound(*TWO, arguments={"returns": "sum"})
def sum_with_class_weights(hidden, weight, targets, class_weight=None):
    """Only the sum, with class weights."""
    w = None if class_weight is None else wide(class_weight)
    return F.cross_entropy(logits(hidden, weight), targets, w, reduction="sum").to(hidden.dtype)


@sound(*TWO)
def both_gradients_by_hand(hidden, weight, targets):
    """The derivative by the logits is computed once and used for both gradients."""
    return parts(hidden, weight, targets, gradient=lambda s: of_slopes(s, slopes(s)))
