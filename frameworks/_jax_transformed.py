"""JAX's transformations of a loss: `jax.vmap`, `jax.jvp`, and second derivatives."""

import jax
import jax.numpy as jnp
from jax import Array

from ._framework import Loss
from ._transformed import Transformation, Transformed


def _under_vmap(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    # Each row is mapped beside another one: a batching rule may confuse the rows with the mapped axis.
    x, t = (jnp.stack([each, jnp.roll(each, 1, 0)], 1) for each in (logits, targets))
    rows, gradient = jax.vmap(jax.value_and_grad(lambda x, t: loss(x, t)[0]))(x, t)
    return {"loss": rows, "gradient": gradient[:, 0]}


def _under_jvp(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    return {"slope": jax.jvp(lambda x: loss(x, targets), (logits,), (direction,))[1]}


def _second(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    first = jax.grad(lambda x: loss(x, targets).sum())
    return {"second": jax.grad(lambda x: (first(x) * direction).sum())(logits)}


TRANSFORMED = {
    Transformation.VMAP: Transformed(
        _under_vmap,
        (
            "y, u = jnp.stack([x, jnp.roll(x, 1, 0)], 1), jnp.stack([t, jnp.roll(t, 1, 0)], 1)",
            "rows, gradient = jax.vmap(jax.value_and_grad(lambda x, t: {call}[0]))(y, u)",
            "gradient = gradient[:, 0]",
        ),
    ),
    Transformation.JVP: Transformed(_under_jvp, ("slope = jax.jvp(lambda x: {call}, (x,), (v,))[1]",)),
    Transformation.SECOND: Transformed(
        _second,
        ("first = jax.grad(lambda x: {call}.sum())", "second = jax.grad(lambda x: (first(x) * v).sum())(x)"),
    ),
}
