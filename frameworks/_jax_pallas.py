"""Losses on JAX's own Pallas kernels, which are compiled for a GPU and interpreted on the CPU."""

import jax
import jax.numpy as jnp
from jax import Array

from ..core.interpreting import INTERPRETED
from ._batch import Implementation
from .formulas.jax import pick


def pallas_softmax(logits: Array) -> Array:
    from jax.experimental.pallas.ops.gpu.softmax import softmax  # noqa: PLC0415 - its import takes half a second

    probabilities: Array = softmax(logits, interpret=on_cpu())
    return probabilities


def loss_of_pallas_softmax(logits: Array, targets: Array) -> Array:
    return -jnp.log(pick(pallas_softmax(logits), targets))


def on_cpu() -> bool:
    """Return whether JAX computes on the CPU, for which Pallas compiles no kernel."""
    device = jax.config.values["jax_default_device"] or jax.devices()[0]
    return bool(device.platform == "cpu")


# The kernel has no derivative.
SOFTMAX = Implementation(
    "jax/experimental.pallas.ops.gpu.softmax", "builtin", loss_of_pallas_softmax, "jax", pallas_softmax,
    differentiable=False, devices=("cuda",), modes=("eager", INTERPRETED),
)  # fmt: skip
