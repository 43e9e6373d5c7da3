"""Right TensorFlow losses, each with a different method."""

from __future__ import annotations

import tensorflow as tf

from .. import sound
from .losses import gradient_alone, onehot, pick, shift, shifted, slope, wide

ALL = ("float16", "bfloat16", "float32", "float64")


@sound("float32", "float64")
def builtin(x, t):
    """The loss of TensorFlow."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=t, logits=x)


@sound("float16", "bfloat16")
def builtin_in_float32(x, t):
    """The loss of TensorFlow, in float32."""
    return tf.cast(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=t, logits=wide(x)), x.dtype)


@sound(*ALL)
def target_shifted_too(x, t):
    """log-sum-exp of shifted logits less the shifted target."""
    return shifted(x, t)


@sound(*ALL)
def picked_from_log_softmax(x, t):
    """The target's entry of a log-softmax in at least float32."""
    return tf.cast(-pick(tf.nn.log_softmax(wide(x), axis=1), t), x.dtype)


@sound(*ALL)
@gradient_alone
def custom_backward(x, t, p, upstream):
    """softmax less one-hot, times the upstream gradient."""
    return slope(x, t, p, upstream)


@sound("float32", "float64")
def one_hot_with_a_guard(x, t):
    """A one-hot product in which all other entries are set to 0 before the multiplication."""
    return -tf.reduce_sum(tf.where(onehot(t, x) == 1, tf.nn.log_softmax(x, axis=1), tf.zeros_like(x)), axis=1)


@sound("float32", "float64")
def online_in_tiles(x, t, block=128):
    """Maximum and sum tile by tile; the maximum starts at the lowest number."""
    m, s = tf.fill(tf.shape(x)[:1], x.dtype.min), tf.zeros(tf.shape(x)[:1], x.dtype)
    for i in range(0, x.shape[1], block):
        tile = x[:, i : i + block]
        new = tf.maximum(m, tf.stop_gradient(tf.reduce_max(tile, axis=1)))
        s = s * tf.exp(m - new) + tf.reduce_sum(tf.exp(tile - new[:, None]), axis=1)
        m = new
    return tf.math.log(s) - (pick(x, t) - m)


@sound("float16", "bfloat16")
def answered_in_float32(x, t):
    """Takes half precision and returns float32."""
    s = shift(x)
    return tf.reduce_logsumexp(s, axis=1) - pick(s, t)
