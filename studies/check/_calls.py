"""Calls that the adapters do not make: an array used twice, a gradient asked for twice, another batch in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
Loss = Callable[..., Any]
# From the upstream gradient (B,) of the row losses to the gradient (B, C); of None, for ones.
Pull = Callable[[Any], Any]


@dataclass(frozen=True)
class Words:
    """How a framework says it; arrays are its own.

    Attributes:
        opened: a loss, logits and targets to the row losses and what pulls a gradient back; the last argument says
            whether it is to be pulled more than once.
        untracked: the same to the row losses, where nothing is to be differentiated; None where that is no other call.
        spread: row losses and a number to an upstream gradient of that number for all rows, one in memory where the
            framework can have it so, as a sum hands it down; None where there is no upstream gradient.
        mode: a loss and a mode to the loss as it is run in it.
        strides: whether its arrays can lie in memory as those of NumPy.
    """

    opened: Callable[[Loss, Array, Array, bool], tuple[Array, Pull]]
    untracked: Callable[[Loss, Array, Array], Array] | None
    spread: Callable[[Array, float], Array] | None
    mode: Callable[[Loss, str], Loss]
    strides: bool


def words(framework: str) -> Words | None:
    """Those of a framework of LogitLab's own; None of another."""
    found = {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow, "numpy": _numpy}.get(framework)
    return None if found is None else found()


def _torch() -> Words:
    import torch  # noqa: PLC0415 - the framework that was asked for

    from ...frameworks.torch_compile import compiled  # noqa: PLC0415

    def opened(loss: Loss, x: Array, t: Array, often: bool) -> tuple[Array, Pull]:
        x.requires_grad_()
        rows = loss(x, t)

        def pull(upstream: Any) -> Any:
            given = torch.ones_like(rows) if upstream is None else upstream
            return torch.autograd.grad(rows, x, given, retain_graph=often)[0]

        return rows, pull

    def untracked(loss: Loss, x: Array, t: Array) -> Array:
        with torch.no_grad():
            return loss(x, t)

    return Words(
        opened,
        untracked,
        lambda rows, number: torch.full((), number, dtype=rows.dtype, device=rows.device).expand(rows.shape),
        lambda loss, mode: compiled(loss) if mode == "compiled" else loss,
        strides=True,
    )


def _jax() -> Words:
    import jax  # noqa: PLC0415

    def opened(loss: Loss, x: Array, t: Array, often: bool) -> tuple[Array, Pull]:
        rows, pull = jax.vjp(lambda logits: loss(logits, t), x)
        return rows, lambda upstream: pull(jax.numpy.ones_like(rows) if upstream is None else upstream)[0]

    return Words(
        opened,
        lambda loss, x, t: loss(x, t),
        jax.numpy.full_like,
        lambda loss, mode: jax.jit(loss) if mode == "compiled" else loss,
        strides=False,
    )


def _tensorflow() -> Words:
    import tensorflow as tf  # noqa: PLC0415

    def opened(loss: Loss, x: Array, t: Array, often: bool) -> tuple[Array, Pull]:
        with tf.GradientTape(persistent=often) as tape:
            tape.watch(x)
            rows = loss(x, t)
        return rows, lambda upstream: tf.convert_to_tensor(tape.gradient(rows, x, output_gradients=upstream))

    return Words(
        opened,
        lambda loss, x, t: loss(x, t),
        lambda rows, number: tf.fill(tf.shape(rows), tf.cast(number, rows.dtype)),
        lambda loss, mode: loss if mode == "eager" else tf.function(loss, jit_compile=mode == "compiled"),
        strides=False,
    )


def _numpy() -> Words:
    """Its gradient, written by hand, is `Candidate`'s to bring."""

    def opened(loss: Loss, x: Array, t: Array, often: bool) -> tuple[Array, Pull]:
        with np.errstate(all="ignore"):
            return loss(x, t), lambda upstream: None

    return Words(opened, None, None, lambda loss, mode: loss, strides=True)
