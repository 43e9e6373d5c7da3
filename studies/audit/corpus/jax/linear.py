"""JAX losses of hidden states with one defect each, which the default check of few shapes must catch."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from .. import wrong_gradient, wrong_loss

TILE = 32
CHUNK = 4  # rows


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _logits(hidden, weight, bias=None):
    z = jnp.dot(_wide(hidden), _wide(weight).T, precision="highest")
    return z if bias is None else z + _wide(bias)


def _pick(z, targets):
    return jnp.take_along_axis(z, targets[:, None], axis=1)[:, 0]


def _rows(z, targets):
    return jax.nn.logsumexp(z, axis=1) - _pick(z, targets)


# --- in the loss ------------------------------------------------------------------------------------------------


@wrong_loss("float32", "bfloat16")
def last_tile_of_classes_is_dropped(hidden, weight, targets):
    """The classes after the last whole tile are left out of the sum."""
    z = _logits(hidden, weight)
    whole = z.shape[1] // TILE * TILE or z.shape[1]
    return (jax.nn.logsumexp(z[:, :whole], axis=1) - _pick(z, targets)).astype(hidden.dtype)


@wrong_loss("float32")
def exponentials_are_not_shifted(hidden, weight, targets):
    """The exponentials are of the logits themselves: from 89 on they overflow."""
    z = _logits(hidden, weight)
    return (jnp.log(jnp.exp(z).sum(axis=1)) - _pick(z, targets)).astype(hidden.dtype)


@wrong_loss("float32")
def rows_after_the_first_64_have_its_targets(hidden, weight, targets):
    """A block has 64 rows, and later blocks read the first one's targets."""
    block = targets[jnp.arange(len(targets)) % 64]
    return _rows(_logits(hidden, weight), block).astype(hidden.dtype)


@wrong_loss("float32")
def mean_of_the_means_of_chunks(hidden, weight, targets, reduction="none"):
    """The mean is that of the chunks' means, and the last chunk is shorter."""
    rows = _rows(_logits(hidden, weight), targets).astype(hidden.dtype)
    if reduction == "sum":
        return rows.sum()
    if reduction == "none":
        return rows
    return jnp.stack([rows[i : i + CHUNK].mean() for i in range(0, len(rows), CHUNK)]).mean()


@wrong_loss("float32")
def softcap_after_the_bias_is_left_out(hidden, weight, targets, bias=None, softcap=None):
    """The logits are capped before the bias is added."""
    z = _logits(hidden, weight)
    z = z if softcap is None else softcap * jnp.tanh(z / softcap)
    z = z if bias is None else z + _wide(bias)
    return _rows(z, targets).astype(hidden.dtype)


# --- in a gradient ----------------------------------------------------------------------------------------------


def _with_gradients(change):
    """Return a loss whose gradients by hidden state and weight are changed by a function of the derivatives."""

    @jax.custom_vjp
    def loss(hidden, weight, targets):
        return _rows(_logits(hidden, weight), targets).astype(hidden.dtype)

    def forward(hidden, weight, targets):
        return loss(hidden, weight, targets), (hidden, weight, targets)

    def backward(kept, upstream):
        hidden, weight, targets = kept
        z = _logits(hidden, weight)
        slopes = jax.nn.softmax(z) - jax.nn.one_hot(targets, z.shape[1], dtype=z.dtype)
        by_hidden, by_weight = change(_wide(upstream)[:, None] * slopes, _wide(hidden), _wide(weight))
        return by_hidden.astype(hidden.dtype), by_weight.astype(weight.dtype), None

    loss.defvjp(forward, backward)
    return loss


_dot = partial(jnp.dot, precision="highest")


@wrong_gradient("float32")
def small_derivatives_are_filtered(hidden, weight, targets):
    """Derivatives by logits below 2^-12 are taken for 0."""

    def filtered(g, h, w):
        g = jnp.where(jnp.abs(g) < 2.0**-12, 0, g)
        return _dot(g, w), _dot(g.T, h)

    return _with_gradients(filtered)(hidden, weight, targets)


@wrong_gradient("float32")
def weight_gradient_of_the_last_chunk_is_lost(hidden, weight, targets):
    """Rows after the last whole chunk add nothing to the gradient by the weight."""

    def lost(g, h, w):
        whole = len(h) // CHUNK * CHUNK or len(h)
        return _dot(g, w), _dot(g[:whole].T, h[:whole])

    return _with_gradients(lost)(hidden, weight, targets)


@wrong_gradient("float32")
def upstream_gradient_of_the_first_row(hidden, weight, targets):
    """Every row's gradient is scaled by the first row's upstream gradient."""

    @jax.custom_vjp
    def loss(hidden, weight):
        return _rows(_logits(hidden, weight), targets).astype(hidden.dtype)

    def backward(kept, upstream):
        pull = jax.vjp(lambda h, w: _rows(_logits(h, w), targets).astype(h.dtype), *kept)[1]
        return pull(jnp.full_like(upstream, upstream[0]))

    loss.defvjp(lambda hidden, weight: (loss(hidden, weight), (hidden, weight)), backward)
    return loss(hidden, weight)
