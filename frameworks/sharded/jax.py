"""Losses of JAX on logits whose classes are sharded over devices, under `jax.jit` and `jax.shard_map`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._batch import Implementation
from ._division import LEADING, shards_of_mode

AXIS = "classes"


def mesh(shards: int, platform: str = "cpu") -> Mesh:
    """Return a mesh of the first devices of a platform, with the axis `AXIS`.

    Raises:
        NotImplementedError: if JAX finds fewer devices.
    """
    devices = jax.devices(platform)
    if len(devices) < shards:
        raise NotImplementedError(f"{shards} shards need as many devices of {platform}; JAX finds {len(devices)}")
    return Mesh(np.array(devices[:shards]), (AXIS,))


def over_devices(logits: Any, targets: Any, device: Any) -> tuple[Array, Array]:
    """Return logits (B, C) with their classes over the devices of the mode ``sharded``, and targets on each of them.

    Raises:
        ValueError: JAX's own, if the devices do not divide the classes evenly.
    """
    return _divided(logits, targets, mesh(shards_of_mode(), device.platform))


def _divided(logits: Any, targets: Any, over: Mesh) -> tuple[Array, Array]:
    sharded, copied = (NamedSharding(over, spec) for spec in (PartitionSpec(None, AXIS), PartitionSpec()))
    return jax.device_put(logits, sharded), jax.device_put(targets, copied)


def is_indivisible(error: Exception) -> bool:
    """Return whether JAX raised the error since the devices do not divide the classes evenly."""
    return "should evenly divide the shape" in str(error)


# --- written with collectives -------------------------------------------------------------------------------------


def lse(logits: Array, targets: Array, label_smoothing: float = 0.0) -> Array:
    """Return the article's LogSumExp: shifted by the maximum of all devices, which is added back."""
    each = partial(_lse_of_device, axis_name=AXIS, label_smoothing=label_smoothing)
    rows: Array = _mapped(each, shards_of_mode())(logits, targets)
    return rows


def _lse_of_device(logits: Array, targets: Array, axis_name: str, label_smoothing: float) -> Array:
    places = targets - jax.lax.axis_index(axis_name) * logits.shape[1]
    own = (places >= 0) & (places < logits.shape[1])
    m = jax.lax.pmax(jax.lax.stop_gradient(logits).max(axis=1), axis_name)
    s = jax.lax.psum(jnp.exp(logits - m[:, None]).sum(axis=1), axis_name)
    picked = jnp.take_along_axis(logits, jnp.where(own, places, 0)[:, None], axis=1)[:, 0]
    subtracted = jax.lax.psum(jnp.where(own, picked, 0), axis_name)
    if label_smoothing:
        mean = jax.lax.psum(logits.sum(axis=1), axis_name) / (logits.shape[1] * jax.lax.axis_size(axis_name))
        subtracted = (1 - label_smoothing) * subtracted + label_smoothing * mean
    return m + jnp.log(s) - subtracted


def _mapped(loss: Callable[[Array, Array], Array], shards: int) -> Callable[[Array, Array], Array]:
    """Return a function of whole logits that runs the loss on each device's classes."""
    specs = PartitionSpec(None, AXIS), PartitionSpec()
    mapped: Callable[[Array, Array], Array] = jax.shard_map(
        loss, mesh=mesh(shards), in_specs=specs, out_specs=PartitionSpec()
    )
    return mapped


SHARDED = (Implementation("jax/lse[shard_map]", "lse", lse, "jax", modes=("sharded",), devices=("cpu",)),)


# --- a user's loss ------------------------------------------------------------------------------------------------


class ShardedLoss:
    """A function of whole logits (B, C) and targets (B,) that runs a loss under `jax.shard_map`.

    Each device calls ``loss(local_logits, targets, axis_name)`` with its classes. The row losses must be the same on
    all devices, which JAX checks when it traces the loss.

    Args:
        loss: the loss.
        signature: that of the loss.
        shards: the number of devices.
    """

    def __init__(self, loss: Callable[..., Array], signature: inspect.Signature, shards: int) -> None:
        self._loss, self._shards = loss, shards
        parameters = list(signature.parameters.values())
        self.__signature__ = signature.replace(parameters=[p for i, p in enumerate(parameters) if i != LEADING - 1])
        self._programs: dict[Hashable, Callable[[Array, Array], Array]] = {}

    def __call__(self, logits: Array, targets: Array, **options: Any) -> Array:
        # The check's arrays, and the results that it takes, lie on the first device.
        rows = self._program(options)(*_divided(logits, targets, mesh(self._shards)))
        return jax.device_put(rows, jax.devices("cpu")[0])

    def _program(self, options: dict[str, Any]) -> Callable[[Array, Array], Array]:
        """Return the compiled loss with these options, compiled once for those that are not arrays."""
        made: Callable[[Array, Array], Array] = jax.jit(
            _mapped(lambda x, t: self._loss(x, t, AXIS, **options), self._shards)
        )
        if any(isinstance(value, Array | np.ndarray) for value in options.values()):
            return made
        return self._programs.setdefault(tuple(sorted(options.items())), made)


@cache
def provide_devices(shards: int) -> str | None:
    """Make JAX divide the CPU into at least so many devices; return why it cannot, else None."""
    with suppress(RuntimeError):  # JAX has started, or a flag of the environment says how many
        jax.config.update("jax_num_cpu_devices", shards)
    found = len(jax.devices("cpu"))
    if found >= shards:
        return None
    return (
        f"{shards} shards need as many devices, but JAX has started with {found} of the CPU; "
        f"set XLA_FLAGS=--xla_force_host_platform_device_count={shards} in the environment"
    )
