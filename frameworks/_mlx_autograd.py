"""MLX's differentiation of a loss, and the loss under `mx.vmap`, `mx.jvp` and a second gradient."""

from typing import Any

import mlx.core as mx

from ._framework import Autograd, Loss, Pull
from ._transformed import Transformation, Transformed

Array = Any


class MlxAutograd(Autograd):
    """Differentiation by `mx.vjp`."""

    def forward(self, loss: Loss, logits: Array, targets: Array, *, repeatedly: bool) -> tuple[Array, Pull]:
        rows = loss(logits, targets)

        def pull(upstream: Array | None) -> Array:
            given = mx.ones_like(rows) if upstream is None else upstream
            _, (gradient,) = mx.vjp(lambda x: loss(x, targets), [logits], [given])
            return gradient

        return rows, pull

    def spread(self, rows: Array, number: float) -> Array:
        return mx.broadcast_to(mx.array(number, rows.dtype), rows.shape)


def _under_vmap(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    # Each row is mapped beside another one: a batching rule may confuse the rows with the mapped axis.
    x, t = (mx.stack([each, mx.roll(each, 1, 0)], 1) for each in (logits, targets))
    rows, gradient = mx.vmap(mx.value_and_grad(lambda x, t: loss(x, t)[0]))(x, t)
    return {"loss": rows, "gradient": gradient[:, 0]}


def _under_jvp(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    return {"slope": mx.jvp(lambda x: loss(x, targets), [logits], [direction])[1][0]}


def _second(loss: Loss, logits: Array, targets: Array, direction: Array) -> dict[str, Array]:
    first = mx.grad(lambda x: loss(x, targets).sum())
    return {"second": mx.grad(lambda x: (first(x) * direction).sum())(logits)}


TRANSFORMED = {
    Transformation.VMAP: Transformed(
        _under_vmap,
        (
            "y, u = mx.stack([x, mx.roll(x, 1, 0)], 1), mx.stack([t, mx.roll(t, 1, 0)], 1)",
            "rows, gradient = mx.vmap(mx.value_and_grad(lambda x, t: {call}[0]))(y, u)",
            "gradient = gradient[:, 0]",
        ),
    ),
    Transformation.JVP: Transformed(_under_jvp, ("slope = mx.jvp(lambda x: {call}, [x], [v])[1][0]",)),
    Transformation.SECOND: Transformed(
        _second,
        ("first = mx.grad(lambda x: {call}.sum())", "second = mx.grad(lambda x: (first(x) * v).sum())(x)"),
    ),
}
