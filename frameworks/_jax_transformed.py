"""JAX's transformations of a loss: `jax.vmap`, `jax.jvp`, and second derivatives."""

import jax
from jax import Array

from ._framework import Loss
from ._transformed import Transformation, Transformed


def _under_vmap(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    rows, gradient = jax.vmap(jax.value_and_grad(lambda x, t: loss(x[None], t[None])[0]))(logits, targets)
    return {"loss": rows, "gradient": gradient}


def _under_jvp(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    return {"slope": jax.jvp(lambda x: loss(x, targets), (logits,), (direction,))[1]}


def _second(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    first = jax.grad(lambda x: loss(x, targets).sum())
    return {"second": jax.grad(lambda x: (first(x) * direction).sum())(logits)}


TRANSFORMED = {
    Transformation.VMAP: Transformed(
        _under_vmap, ("rows, gradient = jax.vmap(jax.value_and_grad(lambda x, t: {one}[0]))(x, t)",)
    ),
    Transformation.JVP: Transformed(_under_jvp, ("slope = jax.jvp(lambda x: {call}, (x,), (v,))[1]",)),
    Transformation.SECOND: Transformed(
        _second,
        ("first = jax.grad(lambda x: {call}.sum())", "second = jax.grad(lambda x: (first(x) * v).sum())(x)"),
    ),
}
