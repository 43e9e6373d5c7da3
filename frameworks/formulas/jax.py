"""The formulas written in JAX."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ..stages import HALF_SCALE, SCALE
from ._options import cap_slopes, gap, half_gaps, log1p_logsumexp, squared, transformed


def pick(values: Array, targets: Array) -> Array:
    return jnp.take_along_axis(values, targets[:, None], axis=1)[:, 0]


def onehot(indices: Array, like: Array) -> Array:
    return (jnp.arange(like.shape[1]) == indices[:, None]).astype(like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Array) -> Array:
    e = jnp.exp(logits)
    return e / e.sum(axis=1, keepdims=True)


def naive(logits: Array, targets: Array) -> Array:
    return -jnp.log(pick(naive_probabilities(logits), targets))


def naive_logsumexp(logits: Array) -> Array:
    return jnp.log(jnp.exp(logits).sum(axis=1))


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Array, targets: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    s = jnp.exp(logits - m).sum(axis=1)
    return m[:, 0] + jnp.log(s) - pick(logits, targets)


def lse_logsumexp(logits: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    return m[:, 0] + jnp.log(jnp.exp(logits - m).sum(axis=1))


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------


def at_least_float32(logits: Array) -> Array:
    # JAX does not promote 8-bit floats, so the dtype is chosen by its size.
    return logits.astype(jnp.float32 if jnp.finfo(logits.dtype).bits < 32 else logits.dtype)


def _log1p_terms(x: Array, scale: float | None) -> tuple[Array, Array, Array, Array]:
    i = x.argmax(axis=1)
    m = pick(x, i)
    scaled = (HALF_SCALE * jnp.exp(half_gaps(x, m[:, None], scale))) ** 2
    others = (scaled - SCALE * onehot(i, x)).sum(axis=1)
    return i, m, scaled / SCALE, others / SCALE


def _capped(logits: Array, softcap: float | None, logit_scale: float | None) -> tuple[Array, float | None, Any]:
    """Return what a scale is to be applied to, in at least float32; the scale; and the slopes of the logits."""
    z = at_least_float32(logits)
    if softcap is None:
        return z, logit_scale, logit_scale
    r = transformed(jnp.tanh, z, None, logit_scale) / softcap
    return jnp.tanh(r), softcap, cap_slopes(jnp.exp(-2 * jnp.abs(r)), logit_scale)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def log1p(
    logits: Array,
    targets: Array,
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
) -> Array:
    return _log1p_forward(logits, targets, softcap, logit_scale, z_loss)[0]


def _log1p_forward(
    logits: Array, targets: Array, softcap: float | None, logit_scale: float | None, z_loss: float
) -> tuple[Array, tuple[Any, ...]]:
    x, scale, slopes = _capped(logits, softcap, logit_scale)
    i, m, e, others = _log1p_terms(x, scale)
    rows = jnp.log1p(others) + gap(m, pick(x, targets), scale)
    y = log1p_logsumexp(jnp.log1p(others), m, scale) if z_loss else None
    rows = rows if y is None else rows + squared(y, z_loss)
    return rows.astype(logits.dtype), (targets, i, e, others, slopes, y)


def _log1p_backward(
    softcap: float | None, logit_scale: float | None, z_loss: float, saved: tuple[Any, ...], upstream: Array
) -> tuple[Array, None]:
    targets, i, e, others, slopes, y = saved
    total = 1 + others
    # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without the target.
    rest = jnp.where(targets == i, others, total - pick(e, targets))
    at_target = onehot(targets, e) == 1
    gradient = jnp.where(at_target, -(rest / total)[:, None], e / total[:, None])
    if y is not None:
        gradient = gradient + (2 * z_loss * y / total)[:, None] * e
    gradient = gradient if slopes is None else gradient * slopes
    return (gradient * at_least_float32(upstream)[:, None]).astype(upstream.dtype), None


log1p.defvjp(_log1p_forward, _log1p_backward)


def log1p_probabilities(logits: Array, softcap: float | None = None, logit_scale: float | None = None) -> Array:
    x, scale, _ = _capped(logits, softcap, logit_scale)
    _, _, e, others = _log1p_terms(x, scale)
    return (e / (1 + others)[:, None]).astype(logits.dtype)
