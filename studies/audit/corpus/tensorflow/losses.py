"""TensorFlow losses with one defect each, in the value or in the gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import tensorflow as tf

from .. import wrong_gradient, wrong_loss

Tensor = Any
INF = float("inf")


def pick(x: Tensor, t: Tensor) -> Tensor:
    return tf.gather(x, t, axis=1, batch_dims=1)


def onehot(t: Tensor, like: Tensor) -> Tensor:
    return tf.one_hot(t, tf.shape(like)[1], dtype=like.dtype)


def wide(x: Tensor) -> Tensor:
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def shift(x: Tensor) -> Tensor:
    return wide(x) - tf.stop_gradient(tf.reduce_max(wide(x), axis=1, keepdims=True))


def shifted(x: Tensor, t: Tensor) -> Tensor:
    """Return the right loss."""
    s = shift(x)
    return tf.cast(tf.math.log(tf.reduce_sum(tf.exp(s), axis=1)) - pick(s, t), x.dtype)


def slope(x: Tensor, t: Tensor, p: Tensor, upstream: Tensor) -> Tensor:
    """Return the right gradient."""
    return (p - onehot(t, p)) * upstream[:, None]


def _parts(value: Callable[..., Tensor], gradient: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @tf.custom_gradient
    def loss(x: Tensor, t: Tensor) -> Tensor:
        def backward(upstream: Tensor) -> tuple[Tensor, None]:
            e = tf.exp(shift(x))
            p = e / tf.reduce_sum(e, axis=1, keepdims=True)
            return tf.cast(gradient(x, t, p, wide(upstream)), x.dtype), None

        return tf.cast(value(x, t), x.dtype), backward

    return loss


def value_alone(value: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a loss with these values and the right gradient."""
    return wraps(value)(_parts(value, slope))


def gradient_alone(gradient: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the right loss with a gradient of logits, targets, probabilities and upstream (B,)."""
    return wraps(gradient)(_parts(shifted, gradient))


# --- values -----------------------------------------------------------------------------------------------------


@wrong_loss("float32")
def one_hot_times_log_softmax(x, t):
    """0 x -inf at a masked class."""
    return -tf.reduce_sum(onehot(t, x) * tf.nn.log_softmax(x, axis=1), axis=1)


@wrong_loss("float32")
@value_alone
def clipped_probability(x, t):
    """The probability is clipped to [1e-7, 1 - 1e-7], as for a loss that is given probabilities."""
    return -tf.math.log(tf.clip_by_value(tf.exp(-shifted(x, t)), 1e-7, 1 - 1e-7))


@wrong_loss("float64")
@value_alone
def probability_plus_epsilon(x, t):
    """log(p + 1e-15)."""
    return -tf.math.log(tf.exp(-shifted(x, t)) + 1e-15)


@wrong_loss("float32")
@value_alone
def last_tile_is_padded_with_zeros(x, t):
    """Rows are padded to a multiple of 8 with zeros."""
    m = tf.reduce_max(x, axis=1, keepdims=True)
    terms = tf.exp(tf.pad(x, [[0, 0], [0, -x.shape[1] % 8]]) - m)
    return tf.math.log(tf.reduce_sum(terms, axis=1)) - pick(x - m, t)


@wrong_loss("float32")
@value_alone
def maximum_of_the_batch(x, t):
    """Shifted by the largest logit of the whole batch."""
    s = x - tf.reduce_max(x)
    return tf.math.log(tf.reduce_sum(tf.exp(s), axis=1)) - pick(s, t)


@wrong_loss("float16", "bfloat16", shown_by="stagnation/*_257")
@value_alone
def sum_stays_in_the_dtype(x, t):
    """The sum is accumulated one by one in the logits' dtype."""
    terms = tf.cast(tf.exp(shift(x)), x.dtype)
    total = tf.zeros_like(terms[:, 0])
    for term in tf.unstack(terms, axis=1):
        total += term
    return tf.math.log(wide(total)) - pick(shift(x), t)


@wrong_loss("float64")
@value_alone
def float32_whatever_comes(x, t):
    """The logits become float32, even from float64."""
    return tf.cast(shifted(tf.cast(x, tf.float32), t), x.dtype)


@wrong_loss("float32", "float64")
def maximum_is_added_back(x, t):
    """log-sum-exp less the unshifted target."""
    return tf.reduce_logsumexp(x, axis=1) - pick(x, t)


@wrong_loss("float32", shown_by="order/ramp_257")
@value_alone
def target_in_eight_bits(x, t):
    """Targets as uint8."""
    return shifted(x, tf.cast(tf.cast(t, tf.uint8), tf.int64))


@wrong_loss("float32")
@value_alone
def ties_share_the_maximum(x, t):
    """All logits equal to the maximum are left out of the sum for log1p."""
    s = shift(x)
    return tf.math.log1p(tf.reduce_sum(tf.where(s == 0, tf.zeros_like(s), tf.exp(s)), axis=1)) - pick(s, t)


@wrong_loss("float32")
@value_alone
def infinite_loss_is_bounded(x, t):
    """A masked target costs 1e9."""
    return tf.minimum(shifted(x, t), 1e9)


@wrong_loss("float32")
@value_alone
def nan_does_not_multiply(x, t):
    """Terms are masked with multiply_no_nan, which turns NaN into 0."""
    s = x - tf.reduce_max(tf.where(tf.math.is_nan(x), -INF, x), axis=1, keepdims=True)
    terms = tf.math.multiply_no_nan(tf.exp(s), tf.cast(s <= 0, s.dtype))
    return tf.math.log(tf.reduce_sum(terms, axis=1)) - pick(s, t)


_batches: list[int] = []


@wrong_loss("float32")
def batch_of_the_first_call(x, t):
    """The batch size is read once, as in a traced function, and later batches are averaged over it."""
    if not _batches and x.shape[0]:
        _batches.append(x.shape[0])
    return shifted(x, t) * (x.shape[0] / _batches[0] if _batches else 1.0)


# --- gradients --------------------------------------------------------------------------------------------------


@wrong_gradient("float32")
def normalizer_is_half_stopped(x, t):
    """The gradient is stopped at the shift and not at the maximum that is added back."""
    m = tf.reduce_max(x, axis=1)
    s = x - tf.stop_gradient(m)[:, None]
    return tf.math.log(tf.reduce_sum(tf.exp(s), axis=1)) - (pick(s, t) + tf.stop_gradient(m)) + m


@wrong_gradient("float32")
@gradient_alone
def upstream_is_ignored(x, t, p, upstream):
    """The gradient ignores the upstream weights, as if each were 1."""
    return p - onehot(t, p)


@wrong_gradient("float32")
@gradient_alone
def upstream_loses_its_sign(x, t, p, upstream):
    """The upstream gradient is treated as a weight, without its sign."""
    return (p - onehot(t, p)) * tf.abs(upstream)[:, None]


@wrong_gradient("float32")
@gradient_alone
def divided_by_the_batch(x, t, p, upstream):
    """The gradient of the mean."""
    return slope(x, t, p, upstream) / tf.cast(tf.maximum(tf.shape(p)[0], 1), p.dtype)


@wrong_gradient("float32")
@gradient_alone
def probabilities_in_bfloat16(x, t, p, upstream):
    """The probabilities are kept in bfloat16."""
    return (tf.cast(tf.cast(p, tf.bfloat16), p.dtype) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32", "float64")
@gradient_alone
def rounded_normalizer(x, t, p, upstream):
    """exp(x - lse), where lse is rounded as the logits are."""
    return (tf.exp(x - tf.reduce_logsumexp(x, axis=1, keepdims=True)) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32")
@gradient_alone
def zero_times_a_mask(x, t, p, upstream):
    """p x, for a penalty of weight 0, is NaN at a masked class."""
    return slope(x, t, p, upstream) + 0.0 * p * x


@wrong_gradient("float32")
@gradient_alone
def small_entries_are_zero(x, t, p, upstream):
    """Entries below 1e-5 are dropped."""
    g = slope(x, t, p, upstream)
    return tf.where(tf.abs(g) < 1e-5, tf.zeros_like(g), g)


@wrong_gradient("float32")
@gradient_alone
def nan_becomes_zero(x, t, p, upstream):
    """The gradient of a NaN row is 0."""
    g = slope(x, t, p, upstream)
    return tf.where(tf.math.is_nan(g), tf.zeros_like(g), g)


@wrong_gradient("float32")
@gradient_alone
def last_class_has_no_one(x, t, p, upstream):
    """The 1 at the target is missing if the target is the last class."""
    last = tf.cast(t, tf.int64) == tf.cast(tf.shape(p)[1] - 1, tf.int64)
    return (p - tf.where(last[:, None], tf.zeros_like(p), onehot(t, p))) * upstream[:, None]
