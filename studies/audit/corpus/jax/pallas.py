"""Pallas kernels of the cross-entropy, run by Pallas's interpreter: a sound one, and two with a defect."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from .. import sound, wrong_loss


def _row(x_ref, t_ref, loss_ref, *, shifted: bool, first: int | None) -> None:
    """The loss of a row, a program each."""
    wide = jnp.promote_types(x_ref.dtype, jnp.float32)
    x = x_ref[...].astype(wide)
    top = jnp.max(x[:first]) if shifted else jnp.zeros((), wide)
    top = jnp.where(jnp.isneginf(top), 0.0, top)
    target = jnp.sum(jnp.where(jnp.arange(x.shape[0]) == t_ref[0], x, 0.0))
    loss_ref[0] = (jnp.log(jnp.sum(jnp.exp(x - top))) + (top - target)).astype(loss_ref.dtype)


def _rows(x: Array, t: Array, shifted: bool, first: int | None) -> Array:
    rows, classes = x.shape
    if not rows:
        return jnp.zeros(0, x.dtype)
    return pl.pallas_call(
        partial(_row, shifted=shifted, first=first),
        grid=(rows,),
        in_specs=[pl.BlockSpec((None, classes), lambda i: (i, 0)), pl.BlockSpec((1,), lambda i: (i,))],
        out_specs=pl.BlockSpec((1,), lambda i: (i,)),
        out_shape=jax.ShapeDtypeStruct((rows,), x.dtype),
        interpret=True,
    )(x, t)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _cross_entropy(x: Array, t: Array, shifted: bool, first: int | None) -> Array:
    return _rows(x, t, shifted, first)


def _forward(x, t, shifted, first):
    return _rows(x, t, shifted, first), (x, t)


def _backward(shifted, first, saved, upstream):
    x, t = saved
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    gradient = jax.nn.softmax(wide, axis=1) - jax.nn.one_hot(t, x.shape[1], dtype=wide.dtype)
    return (gradient * upstream[:, None].astype(wide.dtype)).astype(x.dtype), None


_cross_entropy.defvjp(_forward, _backward)


@sound("float32", "bfloat16")
def whole_rows(x: Array, t: Array) -> Array:
    """Each program loads a whole row."""
    return _cross_entropy(x, t, True, None)


@wrong_loss("float32", "bfloat16")
def unshifted(x: Array, t: Array) -> Array:
    """The exponentials of the logits themselves."""
    return _cross_entropy(x, t, False, None)


@wrong_loss("float32", "bfloat16")
def maximum_of_the_first_block(x: Array, t: Array) -> Array:
    """Shifted by the maximum of the first four classes."""
    return _cross_entropy(x, t, True, 4)
