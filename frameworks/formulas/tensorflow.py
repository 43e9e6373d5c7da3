"""The formulas written in TensorFlow."""

from typing import Any

import tensorflow as tf

from ..stages import HALF_SCALE, SCALE
from ._options import cap_slopes, gap, half_gaps, log1p_logsumexp, squared, transformed

Tensor = Any


def pick(values: Tensor, targets: Tensor) -> Tensor:
    return tf.gather(values, targets, axis=1, batch_dims=1)


def onehot(indices: Tensor, like: Tensor) -> Tensor:
    return tf.one_hot(indices, tf.shape(like)[1], dtype=like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Tensor) -> Tensor:
    e = tf.exp(logits)
    return e / tf.reduce_sum(e, axis=1, keepdims=True)


def naive(logits: Tensor, targets: Tensor) -> Tensor:
    return -tf.math.log(pick(naive_probabilities(logits), targets))


def naive_logsumexp(logits: Tensor) -> Tensor:
    return tf.math.log(tf.reduce_sum(tf.exp(logits), axis=1))


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Tensor, targets: Tensor) -> Tensor:
    m = tf.reduce_max(logits, axis=1, keepdims=True)
    s = tf.reduce_sum(tf.exp(logits - m), axis=1)
    return m[:, 0] + tf.math.log(s) - pick(logits, targets)


def lse_logsumexp(logits: Tensor) -> Tensor:
    m = tf.reduce_max(logits, axis=1, keepdims=True)
    return m[:, 0] + tf.math.log(tf.reduce_sum(tf.exp(logits - m), axis=1))


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------


def at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)


def _log1p_terms(x: Tensor, scale: float | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    i = tf.argmax(x, axis=1)
    m = pick(x, i)
    scaled = (HALF_SCALE * tf.exp(half_gaps(x, m[:, None], scale))) ** 2
    others = tf.reduce_sum(scaled - SCALE * onehot(i, x), axis=1)
    return i, m, scaled / SCALE, others / SCALE


def _capped(logits: Tensor, softcap: float | None, logit_scale: float | None) -> tuple[Tensor, float | None, Any]:
    """Return what a scale is to be applied to, in at least float32; the scale; and the slopes of the logits."""
    z = at_least_float32(logits)
    if softcap is None:
        return z, logit_scale, logit_scale
    r = transformed(tf.tanh, z, None, logit_scale) / softcap
    return tf.tanh(r), softcap, cap_slopes(tf.exp(-2 * tf.abs(r)), logit_scale)


def log1p(
    logits: Tensor,
    targets: Tensor,
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
) -> Tensor:
    # In a graph, a function with a custom gradient takes no keywords.
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def rows(logits: Tensor, targets: Tensor) -> Tensor:
        x, scale, slopes = _capped(logits, softcap, logit_scale)
        i, m, e, others = _log1p_terms(x, scale)
        losses = tf.math.log1p(others) + gap(m, pick(x, targets), scale)
        y = log1p_logsumexp(tf.math.log1p(others), m, scale) if z_loss else None

        def backward(upstream: Tensor) -> tuple[Tensor, None]:
            total = 1 + others
            # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without it.
            rest = tf.where(tf.cast(targets, i.dtype) == i, others, total - pick(e, targets))
            at_target = onehot(targets, e) == 1
            gradient = tf.where(at_target, -(rest / total)[:, None], e / total[:, None])
            if y is not None:
                gradient = gradient + (2 * z_loss * y / total)[:, None] * e
            gradient = gradient if slopes is None else gradient * slopes
            return tf.cast(gradient * tf.cast(upstream, e.dtype)[:, None], logits.dtype), None

        return tf.cast(losses if y is None else losses + squared(y, z_loss), logits.dtype), backward

    return rows(logits, targets)


def log1p_probabilities(logits: Tensor, softcap: float | None = None, logit_scale: float | None = None) -> Tensor:
    x, scale, _ = _capped(logits, softcap, logit_scale)
    _, _, e, others = _log1p_terms(x, scale)
    return tf.cast(e / (1 + others)[:, None], logits.dtype)
