"""The formulas written in MLX."""

from typing import Any

import mlx.core as mx

from ..stages import HALF_SCALE, SCALE
from ._options import cap_slopes, gap, half_gaps, log1p_logsumexp, squared, transformed

Array = Any


def pick(values: Array, targets: Array) -> Array:
    return mx.take_along_axis(values, targets[:, None], axis=1)[:, 0]


def onehot(indices: Array, like: Array) -> Array:
    return (mx.arange(like.shape[1]) == indices[:, None]).astype(like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Array) -> Array:
    e = mx.exp(logits)
    return e / e.sum(axis=1, keepdims=True)


def naive(logits: Array, targets: Array) -> Array:
    return -mx.log(pick(naive_probabilities(logits), targets))


def naive_logsumexp(logits: Array) -> Array:
    return mx.log(mx.exp(logits).sum(axis=1))


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Array, targets: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    s = mx.exp(logits - m).sum(axis=1)
    return m[:, 0] + mx.log(s) - pick(logits, targets)


def lse_logsumexp(logits: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    return m[:, 0] + mx.log(mx.exp(logits - m).sum(axis=1))


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------


def at_least_float32(logits: Array) -> Array:
    return logits if logits.dtype == mx.float64 else logits.astype(mx.float32)


def _log1p_terms(x: Array, scale: float | None) -> tuple[Array, Array, Array, Array]:
    i = x.argmax(axis=1)
    m = pick(x, i)
    scaled = (HALF_SCALE * mx.exp(half_gaps(x, m[:, None], scale))) ** 2
    others = (scaled - SCALE * onehot(i, x)).sum(axis=1)
    return i, m, scaled / SCALE, others / SCALE


def _capped(logits: Array, softcap: float | None, logit_scale: float | None) -> tuple[Array, float | None, Any]:
    """Return what a scale is to be applied to, in at least float32; the scale; and the slopes of the logits."""
    z = at_least_float32(logits)
    if softcap is None:
        return z, logit_scale, logit_scale
    r = transformed(mx.tanh, z, None, logit_scale) / softcap
    return mx.tanh(r), softcap, cap_slopes(mx.exp(-2 * mx.abs(r)), logit_scale)


def log1p(
    logits: Array,
    targets: Array,
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
) -> Array:
    # The backward pass gets only the arrays of the call, so it computes the terms again.
    @mx.custom_function  # type: ignore[untyped-decorator]
    def rows(logits: Array, targets: Array) -> Array:
        x, scale, _ = _capped(logits, softcap, logit_scale)
        _, m, _, others = _log1p_terms(x, scale)
        losses = mx.log1p(others) + gap(m, pick(x, targets), scale)
        if z_loss:
            losses = losses + squared(log1p_logsumexp(mx.log1p(others), m, scale), z_loss)
        return losses.astype(logits.dtype)

    @rows.vjp  # type: ignore[untyped-decorator]
    def backward(primals: tuple[Array, Array], upstream: Array, _losses: Array) -> tuple[Array, Array]:
        logits, targets = primals
        x, scale, slopes = _capped(logits, softcap, logit_scale)
        i, m, e, others = _log1p_terms(x, scale)
        total = 1 + others
        # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without it.
        rest = mx.where(targets == i, others, total - pick(e, targets))
        at_target = onehot(targets, e) == 1
        gradient = mx.where(at_target, -(rest / total)[:, None], e / total[:, None])
        if z_loss:
            pull = 2 * z_loss * log1p_logsumexp(mx.log1p(others), m, scale)
            gradient = gradient + (pull / total)[:, None] * e
        gradient = gradient if slopes is None else gradient * slopes
        return (gradient * upstream.astype(e.dtype)[:, None]).astype(logits.dtype), mx.zeros_like(targets)

    return rows(logits, targets)


def log1p_probabilities(logits: Array, softcap: float | None = None, logit_scale: float | None = None) -> Array:
    x, scale, _ = _capped(logits, softcap, logit_scale)
    _, _, e, others = _log1p_terms(x, scale)
    return (e / (1 + others)[:, None]).astype(logits.dtype)
