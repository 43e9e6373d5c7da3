"""The loss that is checked: where it comes from, and how a framework calls it."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import worker
from ..errors import UsageError
from ..frameworks import Batch, Framework, Implementation
from ..worker import Outcome

Loss = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A loss in a framework, on a device and in a mode.

    Attributes:
        name: what it is called in tables and messages.
        framework: the adapter that makes its arrays, calls it and differentiates it.
        loss: logits (B, C) and integer targets (B,) to the row losses (B,), in the framework's own arrays.
        gradient: logits and targets to the gradient (B, C), where it is written by hand.
        wide: whether the caller's process has JAX's 64-bit numbers switched on.
    """

    name: str
    framework: Framework
    loss: Loss
    gradient: Loss | None
    device: str
    mode: str
    wide: bool = False

    @property
    def quantities(self) -> tuple[str, ...]:
        return self._plain.quantities

    def call(self, batch: Batch, factors: NDArray[Any] | None = None) -> Outcome:
        """Loss and gradient of a batch; with ``factors`` (B,) the gradient of the losses so weighted."""
        implementation = self._plain if factors is None else self._implementation(_of_rows(self._weighted(factors)))
        with self._as_users_have_it(batch.logits.dtype):
            outcome = worker.evaluated(self.framework, implementation, batch, self.device, self.mode)
        if outcome.detail.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt  # in a worker's process it costs one call, here it is the user's word
        return outcome

    @cached_property
    def version(self) -> str:
        """That of the framework."""
        offers = worker.describe(self.framework.name)
        return dict(offers.versions).get(self.framework.implementations[0].package, "")

    @cached_property
    def _plain(self) -> Implementation:
        """One for all calls, so that a framework compiles each shape once."""
        return self._implementation(_of_rows(self.loss))

    def _weighted(self, factors: NDArray[Any]) -> Loss:
        brought = self.framework.operations  # type: ignore[attr-defined] # an optional part of the protocol

        def weighted(logits: Any, targets: Any) -> Any:
            rows = self.loss(logits, targets)
            return rows * brought.cast(brought.load(factors, self.device), rows)

        return weighted

    @property
    def can_be_weighted(self) -> bool:
        """Whether the framework differentiates, and can be handed factors."""
        differentiated = self.gradient is None and "gradient" in self.quantities
        return differentiated and getattr(self.framework, "operations", None) is not None

    @contextmanager
    def _as_users_have_it(self, dtype: np.dtype[Any]) -> Iterator[None]:
        """JAX has 64-bit numbers for float64 alone, unless the caller has them: they change what constants become."""
        if self.framework.name != "jax":
            yield
            return
        import jax  # noqa: PLC0415 - the framework that was asked for

        with jax.enable_x64(self.wide or dtype == np.float64):
            yield

    def _implementation(self, loss: Loss) -> Implementation:
        written = self.framework.name == "numpy"
        plain = Implementation(f"{self.framework.name}/{self.name}", "builtin", loss, self.framework.name)
        return replace(plain, gradient=self.gradient, differentiable=self.gradient is not None or not written)


def _of_rows(loss: Loss) -> Loss:
    """The loss, refused where it does not give one number a row: the adapters would flatten it without a word."""

    def rows(logits: Any, targets: Any) -> Any:
        found = loss(logits, targets)
        shape = tuple(getattr(found, "shape", ()))
        if shape != (logits.shape[0],):
            raise TypeError(f"the loss has shape {shape}; expected ({logits.shape[0]},), one number a row")
        return found

    return rows


def load_framework(name: str) -> tuple[Framework, bool]:
    """The adapter of a framework, in this process, and whether JAX had its 64-bit numbers switched on before.

    Raises:
        UsageError: for a name that is not known, or a framework that cannot be imported.
    """
    if name not in worker.names():
        raise UsageError(f"unknown framework {name!r}; the frameworks are {', '.join(worker.names())}")
    jax = sys.modules.get("jax")
    wide = bool(jax.config.jax_enable_x64) if jax is not None else _truth(os.environ.get("JAX_ENABLE_X64"))
    try:
        framework = worker.load(name)
    except ImportError as error:
        raise UsageError(f"{name} cannot be imported ({error}); `logitlab doctor` tells how to install it") from error
    if name == "jax":
        # LogitLab's adapter turns it on for its own formulas; the caller's process keeps what it had.
        sys.modules["jax"].config.update("jax_enable_x64", wide)
    return framework, wide


def _truth(word: str | None) -> bool:
    return (word or "").lower() in ("1", "true", "yes", "on", "y", "t")


def named(path: str) -> tuple[str, Loss]:
    """The function behind ``package.module:loss``, imported from the current folder too.

    Raises:
        UsageError: if it is not there or cannot be called.
    """
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise UsageError(f"{path!r} names no function; give MODULE:FUNCTION, such as mypackage.losses:cross_entropy")
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"cannot import {module!r}: {error}; run where it can be imported, or set PYTHONPATH"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            there = ", ".join(n for n, v in vars(found).items() if inspect.isfunction(v) and not n.startswith("_"))
            raise UsageError(f"{module} has no {attribute!r}; it has {there or 'no function'}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{path} is {type(found).__name__}, which cannot be called")
    return attribute, found
