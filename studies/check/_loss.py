"""The loss that is checked: where it comes from, and how a framework calls it."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UsageError
from ...execution import registry, worker
from ...execution.worker import Outcome
from ...frameworks import Batch, Framework, Implementation
from ._calls import Pull, Words, words
from ._options import PLAIN, CallOptions, keywords
from ._presentation import Argument, Arrangement, CallKind
from ._rows import Rows

Loss = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A loss in a framework, on a device and in a mode.

    Attributes:
        name: what it is called in tables and messages.
        framework: the adapter that makes its arrays, calls it and differentiates it.
        loss: logits (B, C) and integer targets (B,) to the row losses (B,), in the framework's own arrays; it is given
            the loss options that it names.
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
    _bound: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def quantities(self) -> tuple[str, ...]:
        return self._implementation(PLAIN).quantities

    def call(self, batch: Batch, options: CallOptions = PLAIN) -> Outcome:
        """Loss and gradient of a batch, whose reduction is that of the options."""
        with self._as_users_have_it(batch.logits.dtype):
            outcome = worker.evaluated(self.framework, self._implementation(options), batch, self.device, self.mode)
        if outcome.detail.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt  # in a worker's process it costs one call, here it is the user's word
        return outcome

    @contextmanager
    def traced(self, rows: Rows) -> Iterator[Traced]:
        """For calls one by one; what is raised ends them, and is the trace's fault."""
        trace = Traced(self, rows.options)
        with self._as_users_have_it(rows.logits.dtype):
            try:
                yield trace
            except Exception as error:  # the loss is another's code
                trace.failed(error)

    @cached_property
    def version(self) -> str:
        """That of the framework."""
        infos = registry.describe(self.framework.name)
        return dict(infos.versions).get(self.framework.implementations[0].package, "")

    @cached_property
    def words(self) -> Words | None:
        """For calls that the framework's adapter does not make; None where they cannot be made."""
        return words(self.framework.name) if hasattr(self.framework, "operations") else None

    @cached_property
    def cannot(self) -> frozenset[CallKind | Arrangement]:
        """The ways of calling it that there are not."""
        brought = self.words
        lacking: set[CallKind | Arrangement] = set()
        if brought is None or brought.untracked is None:
            lacking |= {CallKind.UNTRACKED}
        if brought is None or brought.spread is None:
            lacking |= {CallKind.SUMMED}
        if brought is None or not brought.strides:
            lacking |= {Arrangement.SLICED, Arrangement.EVERY_OTHER}
        if self.mode != "eager":
            lacking |= {CallKind.TWICE}  # a compiled backward pass is told that it is the only one
        if self.gradient is not None or "gradient" not in self.quantities:
            lacking |= {CallKind.WEIGHTED, CallKind.SUMMED, CallKind.TWICE}
        return frozenset(lacking)

    def in_its_mode(self, options: CallOptions) -> Loss:
        """The loss with these options, as it is run in the mode."""
        found: Loss = self._once(("in its mode", options.key), lambda: self._in_its_mode(options))
        return found

    def _in_its_mode(self, options: CallOptions) -> Loss:
        bound = self._with(self.loss, options)
        return _shaped(bound if self.words is None else self.words.mode(bound, self.mode), options)

    def by_hand(self, options: CallOptions) -> Loss | None:
        """The gradient written by hand, where there is one that takes the options."""
        if self.gradient is None or not set(options.names) <= set(keywords(self.gradient, options)):
            return None
        return self._with(self.gradient, options)

    @contextmanager
    def _as_users_have_it(self, dtype: np.dtype[Any]) -> Iterator[None]:
        """JAX has 64-bit numbers for float64 alone, unless the caller has them: they change what constants become."""
        if self.framework.name != "jax":
            yield
            return
        import jax  # noqa: PLC0415 - the framework that was asked for

        with jax.enable_x64(self.wide or dtype == np.float64):
            yield

    def _implementation(self, options: CallOptions) -> Implementation:
        """One for all calls with the same options, so that a framework compiles each shape once."""
        found: Implementation = self._once(("implementation", options.key), lambda: self._made(options))
        return found

    def _made(self, options: CallOptions) -> Implementation:
        written = self.framework.name == "numpy"
        loss, gradient = _shaped(self._with(self.loss, options), options), self.by_hand(options)
        plain = Implementation(f"{self.framework.name}/{self.name}", "builtin", loss, self.framework.name)
        # NumPy's adapter would divide a gradient that is that of the mean already.
        gradient = None if options.reduced and written else gradient
        differentiable = gradient is not None or not (written or self.gradient is not None)
        return replace(plain, gradient=gradient, differentiable=differentiable, reduces=options.reduced)

    def _with(self, function: Loss, options: CallOptions) -> Loss:
        """The function with the options that it names, arrays as the framework's own."""
        given = keywords(function, options)
        brought = getattr(self.framework, "operations", None)

        def bound(logits: Any, targets: Any) -> Any:
            own = {
                name: brought.load(value, self.device) if isinstance(value, np.ndarray) and brought else value
                for name, value in given.items()
            }
            return function(logits, targets, **own)

        return bound if given else function

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._bound:
            self._bound[key] = make()
        return self._bound[key]


@dataclass(frozen=True, eq=False)
class Laid:
    """A batch in a framework's own arrays, and the numbers it was made of."""

    x: Any
    t: Any
    logits: NDArray[Any]
    targets: NDArray[Any]


class Traced:
    """Calls of one loss, one after the other, on arrays that may be used more than once.

    Attributes:
        fault: status and detail of what was raised, None if nothing was.
        written: the argument that the loss has changed, None if none.
    """

    def __init__(self, candidate: Candidate, options: CallOptions) -> None:
        self._candidate, self._options = candidate, options
        self._words: Words = candidate.words  # type: ignore[assignment] # where it is None nothing is traced
        self._brought = candidate.framework.operations  # type: ignore[attr-defined] # an optional part of the protocol
        self._seen: list[Laid] = []
        self.fault: tuple[str, str] | None = None

    def failed(self, error: Exception) -> None:
        self.fault = ("unsupported" if self._candidate.framework.unsupported(error) else "raised", format_error(error))

    @property
    def written(self) -> Argument | None:
        for laid in self._seen:
            if not np.array_equal(self._brought.dump(laid.x), laid.logits, equal_nan=True):
                return Argument.LOGITS
            if not np.array_equal(self._brought.dump(laid.t), laid.targets):
                return Argument.TARGETS
        return None

    def laid(self, rows: Rows) -> Laid:
        x, t = rows.in_memory()
        load = self._brought.load
        found = Laid(load(x, self._candidate.device), load(t, self._candidate.device), rows.logits, rows.targets)
        self._seen.append(found)
        return found

    def both(self, laid: Laid, between: Callable[[], Any] = lambda: None) -> dict[str, NDArray[Any]]:
        """Loss and gradient, looked at after something else was done."""
        rows, pull = self._opened(laid)
        between()
        found = {"loss": self._copied(rows)}
        gradient = self._gradient(laid, pull, None)
        return found if gradient is None else found | {"gradient": gradient}

    def gradient(self, laid: Laid, upstream: NDArray[Any] | float) -> NDArray[Any]:
        """That of the losses, each times its own factor; or of a sum, in which all have one."""
        rows, pull = self._opened(laid)
        # Where there is no such array it is not asked for.
        spread: Callable[..., Any] = self._words.spread  # type: ignore[assignment]
        given = spread(rows, upstream) if isinstance(upstream, float) else self._upstream(upstream, rows)
        return self._copied(pull(given))

    def two_gradients(self, laid: Laid, upstream: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        rows, pull = self._opened(laid, often=True)
        given = self._upstream(upstream, rows)
        return self._copied(pull(given)), self._copied(pull(given))

    def _upstream(self, upstream: NDArray[Any], rows: Any) -> Any:
        return self._brought.cast(self._brought.load(upstream.copy(), self._candidate.device), rows)

    def untracked(self, laid: Laid) -> NDArray[Any]:
        return self._copied(self._words.untracked(self._loss, laid.x, laid.t))  # type: ignore[misc]

    def _opened(self, laid: Laid, *, often: bool = False) -> tuple[Any, Pull]:
        return self._words.opened(self._loss, laid.x, laid.t, often)

    @property
    def _loss(self) -> Loss:
        return self._candidate.in_its_mode(self._options)

    def _gradient(self, laid: Laid, pull: Pull, upstream: Any) -> NDArray[Any] | None:
        by_hand = self._candidate.by_hand(self._options)
        if by_hand is not None:
            with np.errstate(all="ignore"):
                return self._copied(by_hand(laid.x, laid.t))
        found = pull(upstream)
        return None if found is None else self._copied(found)

    def _copied(self, values: Any) -> NDArray[Any]:
        # The framework's memory may be written again by the next call.
        return np.array(self._brought.dump(values))


def _shaped(loss: Loss, options: CallOptions) -> Loss:
    """The loss, refused where its result has another shape: the adapters would flatten it without a word."""

    def checked(logits: Any, targets: Any, reduction: str = "") -> Any:
        # The reduction of an adapter's call is the options' own.
        found = loss(logits, targets)
        expected = () if options.reduced else (logits.shape[0],)
        shape = tuple(getattr(found, "shape", ())) if hasattr(found, "dtype") else None
        if shape != expected:
            came = f"is {type(found).__name__}" if shape is None else f"has shape {shape}"
            one = f"one number, the {options.reduction}" if options.reduced else f"{expected}, one number a row"
            raise TypeError(f"the loss {came}; expected {one}")
        return found

    return checked


def format_error(error: BaseException) -> str:
    """The error's kind and first words on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def load_framework(name: str) -> tuple[Framework, bool]:
    """The adapter of a framework, in this process, and whether JAX had its 64-bit numbers switched on before.

    Raises:
        UsageError: for a name that is not known, or a framework that cannot be imported.
    """
    if name not in registry.names():
        raise UsageError(f"unknown framework {name!r}; the frameworks are {', '.join(registry.names())}")
    jax = sys.modules.get("jax")
    wide = bool(jax.config.jax_enable_x64) if jax is not None else _truth(os.environ.get("JAX_ENABLE_X64"))
    try:
        framework = registry.load(name)
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
    except (Exception, SystemExit) as error:  # another's code, which may raise anything
        raise UsageError(f"{module!r} fails when it is imported: {format_error(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            there = ", ".join(n for n, v in vars(found).items() if inspect.isfunction(v) and not n.startswith("_"))
            raise UsageError(f"{module} has no {attribute!r}; it has {there or 'no function'}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{path} is {type(found).__name__}; give a function of logits (B, C) and targets (B,)")
    return attribute, found
