"""The formulas of hidden states in NumPy, with their gradients by hand."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from ...core.vocabulary import Problem
from .._batch import Implementation
from .._training import at_least_float32
from ._batch import LinearBatch

Array = NDArray[Any]
Function = Callable[..., Array]


def logits_of(hidden: Array, weight: Array, bias: Array | None) -> Array:
    """Return the logits, rounded to the dtype. NumPy multiplies matrices of bfloat16 into float32."""
    logits = (hidden @ weight.T).astype(hidden.dtype)
    return logits if bias is None else logits + bias


def implementations(losses: Mapping[str, tuple[Function, Function]]) -> tuple[Implementation, ...]:
    """Return the implementations, given the loss of logits of each formula and its gradient by the logits."""

    def of_logits(loss: Function) -> Function:
        def linear(hidden: Array, weight: Array, targets: Array, *, bias: Array | None = None, **options: Any) -> Array:
            return loss(logits_of(hidden, weight, bias), targets, **options)

        return linear

    return tuple(
        Implementation(
            f"numpy/{name}[linear]", name, of_logits(loss), "numpy", gradient=by_hand(gradient), problem=Problem.LINEAR
        )
        for name, (loss, gradient) in losses.items()
    )


def by_hand(gradient: Function) -> Callable[..., tuple[Array, ...]]:
    """Return the gradients by hidden states, weight and bias, given that by the logits, of the sum of row losses."""

    def gradients(
        hidden: Array, weight: Array, targets: Array, *,
        bias: Array | None = None, reduction: str = "none", **options: Any,
    ) -> tuple[Array, ...]:  # fmt: skip
        g = gradient(logits_of(hidden, weight, bias), targets, **options)
        if reduction == "mean":
            g = g / g.dtype.type(len(g))
        by_hidden = (g @ weight).astype(hidden.dtype)
        by_weight = (g.T @ hidden).astype(weight.dtype)
        if bias is None:
            return by_hidden, by_weight
        return by_hidden, by_weight, at_least_float32(g).sum(axis=0).astype(bias.dtype)

    return gradients


def evaluate(
    implementation: Implementation,
    batch: LinearBatch,
    reduce: Callable[[Array, str], Array],
) -> Iterator[tuple[str, Array]]:
    """Yield loss and gradients."""
    hidden, weight, bias, t = batch.hidden, batch.weight, batch.bias, batch.targets
    # A bfloat16 array times a Python float is float32.
    options = {k: hidden.dtype.type(v) if isinstance(v, float) else v for k, v in batch.keywords.items()}
    yield "loss", reduce(implementation.loss(hidden, weight, t, bias=bias, **options), batch.reduction)
    if implementation.gradient is None:
        raise NotImplementedError(f"{implementation.name} has no gradient")
    gradients = implementation.gradient(hidden, weight, t, bias=bias, reduction=batch.reduction, **options)
    yield from zip((f"gradient_{name}" for name in batch.leaves), gradients, strict=True)
