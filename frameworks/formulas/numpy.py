"""The formulas written in NumPy, with their backward passes written out.

The backward passes reverse the operations of the forward passes one by one, like automatic differentiation. So an
infinity or NaN of the forward pass spreads in the same way.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._training import at_least_float32
from ..stages import HALF_SCALE, SCALE
from ._options import cap_slopes, gap, half_gaps, log1p_logsumexp, squared, transformed

Array = NDArray[Any]


def pick(values: Array, targets: Array) -> Array:
    return np.take_along_axis(values, targets[:, None], axis=1)[:, 0]


def onehot(indices: Array, like: Array) -> Array:
    return (np.arange(like.shape[1]) == indices[:, None]).astype(like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Array) -> Array:
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True)


def naive(logits: Array, targets: Array) -> Array:
    return -np.log(pick(naive_probabilities(logits), targets))


def naive_logsumexp(logits: Array) -> Array:
    return np.log(np.exp(logits).sum(axis=1))


def naive_gradient(logits: Array, targets: Array) -> Array:
    e = np.exp(logits)
    s = e.sum(axis=1, keepdims=True)
    p = e / s
    # Not a one-hot times the slope: 0 times an infinite slope is NaN, which differentiating a pick does not give.
    d_p = np.where(onehot(targets, p) == 1, (-1 / pick(p, targets))[:, None], p.dtype.type(0))
    d_s = (-d_p * p / s).sum(axis=1, keepdims=True)
    d_e = d_p / s + d_s
    return d_e * e


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Array, targets: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    s = np.exp(logits - m).sum(axis=1)
    return m[:, 0] + np.log(s) - pick(logits, targets)


def lse_logsumexp(logits: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    return m[:, 0] + np.log(np.exp(logits - m).sum(axis=1))


def lse_logsumexp_gradient(logits: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    e = np.exp(logits - m)
    s = e.sum(axis=1, keepdims=True)
    d_shifted = e * (1 / s)
    d_m = 1 - d_shifted.sum(axis=1, keepdims=True)
    is_max = (logits == m).astype(logits.dtype)
    return d_shifted + d_m * (is_max / is_max.sum(axis=1, keepdims=True))


def lse_gradient(logits: Array, targets: Array) -> Array:
    return lse_logsumexp_gradient(logits) - onehot(targets, logits)


# --- the options of language models around naive and lse --------------------------------------------------------


def gradient_with_options(
    gradient: Callable[..., Array], logsumexp: Callable[..., Array], logsumexp_gradient: Callable[..., Array]
) -> Callable[..., Array]:
    """Return the gradient with the options as keywords: the operations of `with_options`, reversed one by one."""

    def with_respect_to_logits(
        logits: Array,
        targets: Array,
        softcap: float | None = None,
        logit_scale: float | None = None,
        z_loss: float = 0.0,
    ) -> Array:
        x = transformed(np.tanh, logits, softcap, logit_scale)
        d = gradient(x, targets)
        if z_loss:
            d = d + (z_loss * (2 * logsumexp(x)))[:, None] * logsumexp_gradient(x)
        if softcap is not None:
            t = np.tanh(transformed(np.tanh, logits, None, logit_scale) / softcap)
            d = d * softcap * (1 - t * t) / softcap
        return d if logit_scale is None else d * logit_scale

    return with_respect_to_logits


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------


def _log1p_terms(x: Array, scale: float | None) -> tuple[Array, Array, Array, Array]:
    i = x.argmax(axis=1)
    m = pick(x, i)
    scaled = (HALF_SCALE * np.exp(half_gaps(x, m[:, None], scale))) ** 2
    others = (scaled - SCALE * onehot(i, x)).sum(axis=1)
    return i, m, scaled / SCALE, others / SCALE


def _capped(logits: Array, softcap: float | None, logit_scale: float | None) -> tuple[Array, float | None, Any]:
    """Return what a scale is to be applied to, in at least float32; the scale; and the slopes of the logits."""
    z = at_least_float32(logits)
    if softcap is None:
        return z, logit_scale, logit_scale
    r = transformed(np.tanh, z, None, logit_scale) / softcap
    return np.tanh(r), softcap, cap_slopes(np.exp(-2 * np.abs(r)), logit_scale)


def log1p(
    logits: Array, targets: Array, softcap: float | None = None, logit_scale: float | None = None, z_loss: float = 0.0
) -> Array:
    x, scale, _ = _capped(logits, softcap, logit_scale)
    _, m, _, others = _log1p_terms(x, scale)
    rows = np.log1p(others) + gap(m, pick(x, targets), scale)
    if z_loss:
        rows = rows + squared(log1p_logsumexp(np.log1p(others), m, scale), z_loss)
    return rows.astype(logits.dtype)


def log1p_probabilities(logits: Array, softcap: float | None = None, logit_scale: float | None = None) -> Array:
    x, scale, _ = _capped(logits, softcap, logit_scale)
    _, _, e, others = _log1p_terms(x, scale)
    return (e / (1 + others)[:, None]).astype(logits.dtype)


def log1p_gradient(
    logits: Array, targets: Array, softcap: float | None = None, logit_scale: float | None = None, z_loss: float = 0.0
) -> Array:
    x, scale, slopes = _capped(logits, softcap, logit_scale)
    i, m, e, others = _log1p_terms(x, scale)
    total = 1 + others
    # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without the target.
    rest = np.where(targets == i, others, total - pick(e, targets))
    at_target = onehot(targets, e) == 1
    gradient = np.where(at_target, -(rest / total)[:, None], e / total[:, None])
    if z_loss:
        pull = 2 * z_loss * log1p_logsumexp(np.log1p(others), m, scale)
        gradient = gradient + (pull / total)[:, None] * e
    return (gradient if slopes is None else gradient * slopes).astype(logits.dtype)
