"""Right JAX losses, each with a different method."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from .. import sound
from .losses import gradient_alone, onehot, pick, shift, shifted, slope, wide

ALL = ("float16", "bfloat16", "float32", "float64")


@sound(*ALL)
def picked_from_log_softmax(x, t):
    """The target's entry of a log-softmax in at least float32."""
    return -pick(jax.nn.log_softmax(wide(x), axis=1), t).astype(x.dtype)


@sound(*ALL)
def target_shifted_too(x, t):
    """log-sum-exp of shifted logits less the shifted target."""
    return shifted(x, t)


@sound(*ALL)
@gradient_alone
def custom_backward(x, t, p, upstream):
    """softmax less one-hot, times the upstream gradient."""
    return slope(x, t, p, upstream)


@sound(*ALL)
def one_hot_with_a_guard(x, t):
    """A one-hot product in which all other entries are set to 0 before the multiplication."""
    hot = onehot(t, wide(x)) == 1
    return -jnp.where(hot, jax.nn.log_softmax(wide(x), axis=1), 0.0).sum(axis=1).astype(x.dtype)


@sound("float32")
def online_in_a_loop(x, t, block=32):
    """Maximum and sum in a fori_loop over tiles, the row padded with -inf to a whole number of them."""
    tiles = -(-x.shape[1] // block)
    padded = jnp.pad(x, ((0, 0), (0, tiles * block - x.shape[1])), constant_values=-jnp.inf)

    def step(state, i):
        m, s = state
        tile = lax.dynamic_slice_in_dim(padded, i * block, block, axis=1)
        new = jnp.maximum(m, lax.stop_gradient(tile.max(axis=1)))
        return (new, s * jnp.exp(m - new) + jnp.exp(tile - new[:, None]).sum(axis=1)), None

    start = (jnp.full(x.shape[:1], jnp.finfo(x.dtype).min), jnp.zeros(x.shape[:1], x.dtype))
    (m, s), _ = lax.scan(step, start, jnp.arange(tiles))
    return jnp.log(s) - (pick(x, t) - m)


@sound("float32", "float64")
def one_row_at_a_time(x, t):
    """A loss of one row, mapped over the batch."""
    return jax.vmap(lambda row, target: shifted(row[None], target[None])[0])(x, t)


@sound("float16", "bfloat16")
def answered_in_float32(x, t):
    """Takes half precision and returns float32."""
    s = shift(x)
    return jax.nn.logsumexp(s, axis=1) - pick(s, t)
