"""JAX's and optax's losses of hidden states, on computed logits."""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ...core.vocabulary import Problem
from .._batch import Implementation, reduce_rows
from ._autograd import LinearAutograd, Pull
from ._batch import LinearBatch

Array = Any
Loss = Callable[..., Array]
MODES = ("eager", "compiled")


def of_logits(loss: Loss) -> Loss:
    """Return the loss of the logits ``hidden @ weight.T + bias``, which are rounded to the dtype unless XLA fuses."""

    def linear(hidden: Array, weight: Array, targets: Array, *, bias: Array | None = None, **options: Any) -> Array:
        logits = hidden @ weight.T
        return loss(logits if bias is None else logits + bias, targets, **options)

    return linear


def implementations(losses: Mapping[str, tuple[str, str, Loss]]) -> tuple[Implementation, ...]:
    """Return the implementations, given the formula, the package and the loss of logits of each name."""
    return tuple(
        Implementation(
            f"jax/{name}[linear]", formula, of_logits(loss), package, problem=Problem.LINEAR, modes=MODES
        )
        for name, (formula, package, loss) in losses.items()
    )  # fmt: skip


class JaxLinearAutograd(LinearAutograd):
    """Differentiation by `jax.vjp`."""

    def forward(
        self, loss: Loss, leaves: Mapping[str, Array], targets: Array, *, by: Collection[str], repeatedly: bool = False
    ) -> tuple[Array, Pull]:
        constants = {name: leaf for name, leaf in leaves.items() if name not in by}
        result, pull = jax.vjp(
            lambda given: loss(**given, **constants, targets=targets), {name: leaves[name] for name in by}
        )
        return result, lambda upstream: pull(jnp.ones_like(result) if upstream is None else upstream)[0]


AUTOGRAD = JaxLinearAutograd()
_programs: dict[Hashable, Callable[..., Any]] = {}


def evaluate(implementation: Implementation, batch: LinearBatch, mode: str) -> Iterator[tuple[str, Array]]:
    """Yield loss and gradients on the default device."""
    leaves = {name: jnp.asarray(array) for name, array in batch.leaves.items()}
    targets = jnp.asarray(batch.targets)
    if mode == "compiled":
        loss, gradients = _program(implementation, batch)(leaves, targets)
        yield "loss", loss
    else:
        loss, pull = AUTOGRAD.forward(partial(_forward, implementation, batch), leaves, targets, by=tuple(leaves))
        yield "loss", loss
        gradients = pull(None)
    yield from ((f"gradient_{name}", gradients[name]) for name in leaves)


def forget_programs() -> None:
    _programs.clear()


def _forward(implementation: Implementation, batch: LinearBatch, **arrays: Array) -> Array:
    rows: Array = implementation.loss(**arrays, **batch.keywords)
    return reduce_rows(rows, batch.reduction)


def _program(implementation: Implementation, batch: LinearBatch) -> Callable[..., Any]:
    """Return a cached program that computes loss and gradients together, as a training step does."""
    key = implementation, batch.program_key
    if key not in _programs:
        without_arrays = batch.without_arrays()

        def both(leaves: Mapping[str, Array], targets: Array) -> tuple[Array, Any]:
            forward = partial(_forward, implementation, without_arrays)
            value, pull = AUTOGRAD.forward(forward, leaves, targets, by=tuple(leaves))
            return value, pull(None)

        _programs[key] = jax.jit(both)
    return _programs[key]
