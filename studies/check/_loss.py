"""The loss under check: its import, and its calls in a framework."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UsageError, format_error
from ...execution import registry, worker
from ...execution.worker import Outcome
from ...frameworks import Autograd, Batch, Framework, Implementation
from ._options import PLAIN, CallOptions, keywords
from ._presentation import Argument, Arrangement, CallKind
from ._rows import PresentedRows

Loss = Callable[..., Any]
REDUCED = "the loss has shape ();"  # the message about a mean or sum in place of row losses


@dataclass(frozen=True, eq=False)
class Candidate:
    """A loss in a framework, on a device and in a mode.

    Attributes:
        name: its name in tables and messages.
        framework: the adapter that creates its arrays, calls it and differentiates it.
        loss: takes logits (B, C) and integer targets (B,) in the framework's arrays, and the loss options that it
            names; returns the row losses (B,).
        gradient: takes logits and targets and returns the gradient (B, C); None if the framework differentiates.
    """

    name: str
    framework: Framework
    loss: Loss
    gradient: Loss | None
    device: str
    mode: str
    _bound: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def quantities(self) -> tuple[str, ...]:
        return self._implementation(PLAIN).quantities

    def call(self, batch: Batch, options: CallOptions = PLAIN) -> Outcome:
        """Return loss and gradient of a batch, with the reduction of the options."""
        with self.framework.as_users_call_it(batch.logits.dtype):
            outcome = worker.evaluated(self.framework, self._implementation(options), batch, self.device, self.mode)
        if outcome.detail.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt  # the user's Ctrl-C; in a worker process it would only end one call
        return outcome

    @contextmanager
    def traced(self, rows: PresentedRows) -> Iterator[Traced]:
        """Give a `Traced` for single calls. An exception of the loss ends the block and is stored as its fault."""
        trace = Traced(self, rows.options)
        with self.framework.as_users_call_it(rows.logits.dtype), self.framework.placed(self.device):
            try:
                yield trace
            except Exception as error:  # the loss is the user's code
                status = "unsupported" if self.framework.unsupported(error) else "raised"
                trace.fault = (status, format_error(error))

    @cached_property
    def version(self) -> str:
        """The framework's version."""
        return registry.version_of(self.framework.implementations[0].package) or ""

    @cached_property
    def cannot(self) -> frozenset[CallKind | Arrangement]:
        """The presentations that the framework, the mode or the loss does not allow."""
        lacking: set[CallKind | Arrangement] = set()
        if self.framework.autograd is None:
            lacking |= {CallKind.UNTRACKED, CallKind.WEIGHTED, CallKind.SUMMED, CallKind.TWICE}
        if not self.framework.strides:
            lacking |= {Arrangement.SLICED, Arrangement.EVERY_OTHER}
        if self.mode != "eager":
            lacking |= {CallKind.TWICE}  # a compiled backward pass runs only once
        if self.gradient is not None or "gradient" not in self.quantities:
            lacking |= {CallKind.WEIGHTED, CallKind.SUMMED, CallKind.TWICE}
        return frozenset(lacking)

    def in_its_mode(self, options: CallOptions) -> Loss:
        """Return the loss with these options, compiled for the mode."""
        found: Loss = self._once(("in its mode", options.key), lambda: self._in_its_mode(options))
        return found

    def _in_its_mode(self, options: CallOptions) -> Loss:
        return _shaped(self.framework.in_mode(self._with(self.loss, options), self.mode), options)

    def by_hand(self, options: CallOptions) -> Loss | None:
        """Return the user's gradient function if there is one that takes the options, or None."""
        if self.gradient is None or not set(options.names) <= set(keywords(self.gradient, options)):
            return None
        return self._with(self.gradient, options)

    def _implementation(self, options: CallOptions) -> Implementation:
        """Return one implementation for all calls with the same options, so that each shape is compiled once."""
        found: Implementation = self._once(("implementation", options.key), lambda: self._build(options))
        return found

    def _build(self, options: CallOptions) -> Implementation:
        written = all(i.written_by_hand for i in self.framework.implementations)
        loss, gradient = _shaped(self._with(self.loss, options), options), self.by_hand(options)
        plain = Implementation(f"{self.framework.name}/{self.name}", "builtin", loss, self.framework.name)
        # The adapter would divide the gradient of a mean by the number of rows again.
        gradient = None if options.reduced and written else gradient
        differentiable = gradient is not None or not (written or self.gradient is not None)
        return replace(plain, gradient=gradient, differentiable=differentiable, reduces=options.reduced)

    def _with(self, function: Loss, options: CallOptions) -> Loss:
        """Return the function with the options that it names, as the framework's arrays."""
        given = keywords(function, options)

        def bound(logits: Any, targets: Any) -> Any:
            return function(logits, targets, **self.framework.keywords(given, self.device))

        return bound if given else function

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._bound:
            self._bound[key] = make()
        return self._bound[key]


class Laid(NamedTuple):
    """A batch in a framework's arrays, and its numbers in NumPy."""

    x: Any
    t: Any
    logits: NDArray[Any]
    targets: NDArray[Any]


class Traced:
    """Single calls of one loss on arrays that may be used more than once.

    Attributes:
        fault: status and message of an exception, or None.
        written: the argument that the loss has changed, or None.
    """

    def __init__(self, candidate: Candidate, options: CallOptions) -> None:
        self._candidate, self._options, self._framework = candidate, options, candidate.framework
        self._seen: list[Laid] = []
        self.fault: tuple[str, str] | None = None

    @property
    def written(self) -> Argument | None:
        for laid in self._seen:
            if not np.array_equal(self._framework.to_numpy(laid.x), laid.logits, equal_nan=True):
                return Argument.LOGITS
            if not np.array_equal(self._framework.to_numpy(laid.t), laid.targets):
                return Argument.TARGETS
        return None

    def laid(self, rows: PresentedRows) -> Laid:
        x, t = rows.in_memory()
        found = Laid(self._own(x), self._own(t), rows.logits, rows.targets)
        self._seen.append(found)
        return found

    def both(self, laid: Laid, between: Callable[[], Any] = lambda: None) -> dict[str, NDArray[Any]]:
        """Return loss and gradient, copied after ``between`` was called."""
        by_hand = self._candidate.by_hand(self._options)
        if by_hand is None and self._framework.autograd is not None:
            rows, pull = self._autograd.forward(self._loss, laid.x, laid.t, repeatedly=False)
            between()
            return {"loss": self._copied(rows), "gradient": self._copied(pull(None))}
        rows = self._loss(laid.x, laid.t)
        between()
        found = {"loss": self._copied(rows)}
        return found if by_hand is None else found | {"gradient": self._copied(by_hand(laid.x, laid.t))}

    def gradient(self, laid: Laid, upstream: NDArray[Any] | float) -> NDArray[Any]:
        """Return the gradient of the losses times their factors, or of a sum times one factor."""
        rows, pull = self._autograd.forward(self._loss, laid.x, laid.t, repeatedly=False)
        if isinstance(upstream, float):
            return self._copied(pull(self._autograd.spread(rows, upstream)))
        return self._copied(pull(self._upstream(upstream, rows)))

    def two_gradients(self, laid: Laid, upstream: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        rows, pull = self._autograd.forward(self._loss, laid.x, laid.t, repeatedly=True)
        given = self._upstream(upstream, rows)
        return self._copied(pull(given)), self._copied(pull(given))

    def untracked(self, laid: Laid) -> NDArray[Any]:
        return self._copied(self._autograd.untracked(self._loss, laid.x, laid.t))

    @property
    def _autograd(self) -> Autograd:
        found = self._framework.autograd
        assert found is not None  # noqa: S101 - for the type checker: `Candidate.cannot` excludes calls without it
        return found

    @property
    def _loss(self) -> Loss:
        return self._candidate.in_its_mode(self._options)

    def _own(self, values: NDArray[Any]) -> Any:
        return self._framework.to_array(values, self._candidate.device)

    def _upstream(self, upstream: NDArray[Any], rows: Any) -> Any:
        """Return the factors in the dtype of the losses, which may differ from that of the logits."""
        with np.errstate(over="ignore"):
            return self._own(upstream.astype(self._framework.to_numpy(rows).dtype))

    def _copied(self, values: Any) -> NDArray[Any]:
        # The next call may overwrite the framework's memory.
        return np.array(self._framework.to_numpy(values))


def _shaped(loss: Loss, options: CallOptions) -> Loss:
    """Return the loss with a check of its result's shape, since the adapters would flatten any shape."""

    def checked(logits: Any, targets: Any, reduction: str = "") -> Any:
        # The options contain the reduction, so the adapter's argument is not used.
        found = loss(logits, targets)
        expected = () if options.reduced else (logits.shape[0],)
        shape = tuple(getattr(found, "shape", ())) if hasattr(found, "dtype") else None
        if shape != expected:
            came = f"is {type(found).__name__}" if shape is None else f"has shape {shape}"
            one = f"one number, the {options.reduction}" if options.reduced else f"{expected}, one number a row"
            raise TypeError(f"the loss {came}; expected {one}")
        return found

    return checked


def load_framework(name: str) -> Framework:
    """Return the adapter of a framework in this process, without a change of settings.

    Raises:
        UsageError: for an unknown framework, or one that cannot be imported.
    """
    if name not in registry.names():
        raise UsageError(f"unknown framework {name!r}; choose one of {', '.join(registry.names())}")
    try:
        return registry.imported(name)
    except ImportError as error:
        raise UsageError(
            f"{name} cannot be imported ({error}); for how to install it, see `logitlab doctor`"
        ) from error


def named(path: str) -> tuple[str, Loss]:
    """Import ``package.module:loss``, also from the current folder, and return its name and the function.

    Raises:
        UsageError: if it does not exist or is not callable.
    """
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise UsageError(f"{path!r} is not MODULE:FUNCTION; give a name such as mypackage.losses:cross_entropy")
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"cannot import {module!r}: {error}; run logitlab in the folder of the module, or set PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:  # the module is the user's code and may raise anything
        raise UsageError(
            f"{module!r} raises {format_error(error)}; fix it so that this works: `python -c 'import {module}'`"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            there = ", ".join(n for n, v in vars(found).items() if inspect.isfunction(v) and not n.startswith("_"))
            fix = f"choose one of {there}" if there else "define a function of logits (B, C) and targets (B,)"
            raise UsageError(f"{module} has no {attribute!r}; {fix}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{path} is {type(found).__name__}; give a function of logits (B, C) and targets (B,)")
    return attribute, found
