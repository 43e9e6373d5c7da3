"""The loss under check: its calls in a framework."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....core.vocabulary import Status
from ....execution import registry, worker
from ....execution.worker import Outcome
from ....frameworks import Autograd, Batch, Framework, Implementation
from ..batches._possible import IN_ONE_PROCESS, TRANSFORMATIONS, impossible
from ..batches._presentation import Argument, Arrangement, CallKind
from ..batches._rows import PresentedRows
from ..forms._callee import SAMPLE_CLASSES, Callee
from ..forms._form import PLAIN_FORM, CallForm, Returns
from ..forms._layout import rows_of, shaped, shaped_logits, shaped_targets
from ..forms._options import PLAIN, CallOptions
from ..forms._sharding import Sharding
from ._faults import fault
from ._threads import at_the_same_time

Loss = Callable[..., Any]
REDUCED = "the loss has shape ();"  # the message about a mean or sum in place of row losses


class ShapeError(TypeError):
    """The loss has returned something other than row losses or their reduction."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A loss in a framework, on a device and in a mode.

    Attributes:
        name: its name in tables and messages.
        framework: the adapter that creates its arrays, calls it and differentiates it.
        loss: takes logits (B, C) and integer targets (B,) in the framework's arrays, and the loss options that it
            names; returns the row losses (B,).
        gradient: takes logits and targets and returns the gradient (B, C); None if the framework differentiates.
        form: how the loss is called.
        sharding: the shards of a sharded loss, of which ``loss`` is then the function of whole logits.
    """

    name: str
    framework: Framework
    loss: Loss
    gradient: Loss | None
    device: str
    mode: str
    form: CallForm = PLAIN_FORM
    sharding: Sharding | None = None
    _bound: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def quantities(self) -> tuple[str, ...]:
        return self._implementation(self.plain_options, SAMPLE_CLASSES).quantities

    @property
    def plain_options(self) -> CallOptions:
        """The options of a call without loss options: the reduction that the loss always has, if any."""
        return PLAIN if self.form.returns is Returns.ROWS else CallOptions(reduction=self.form.returns, announced=True)

    def call(self, batch: Batch, options: CallOptions = PLAIN) -> Outcome:
        """Return loss and gradient of a batch, with the reduction of the options."""
        given, classes = shaped(batch, self.form), batch.logits.shape[1]
        with self.framework.as_users_call_it(batch.logits.dtype):
            implementation = self._implementation(options, classes)
            outcome = worker.evaluated(
                self.framework, implementation, given, self.device, self.mode,
                lambda error: fault(self.framework, error, batch.logits.dtype.name),
            )  # fmt: skip
        if given.logits.ndim != 2:
            batch.logits[...] = rows_of(given.logits, self.form)  # the loss may have written into them
            outcome = replace(outcome, values=tuple((q, rows_of(v, self.form)) for q, v in outcome.values))
        if outcome.detail.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt  # the user's Ctrl-C; in a worker process it would only end one call
        return outcome

    @contextmanager
    def traced(self, rows: PresentedRows) -> Iterator[Traced]:
        """Give a `Traced` for single calls. An exception of the loss ends the block and is stored as its fault."""
        trace = Traced(self, rows.options, rows.classes)
        with self.framework.as_users_call_it(rows.logits.dtype), self.framework.placed(self.device):
            try:
                yield trace
            except Exception as error:  # the loss is the user's code
                trace.misshapen = isinstance(error, ShapeError)
                trace.fault = fault(self.framework, error, rows.dtype)

    @cached_property
    def version(self) -> str:
        """The framework's version."""
        return registry.version_of(self.framework.implementations[0].package) or ""

    @cached_property
    def cannot(self) -> frozenset[CallKind | Arrangement]:
        """The presentations that the framework, the mode or the loss does not allow."""
        differentiates = self.gradient is None and "gradient" in self.quantities
        lacking = impossible(self.framework, self.mode, self.form, differentiates=differentiates)
        return lacking if self.sharding is None else lacking | IN_ONE_PROCESS

    @cached_property
    def callee(self) -> Callee:
        """The loss as it is called."""
        return Callee("the loss", self.name, self.loss, self.form)

    @cached_property
    def gradient_callee(self) -> Callee | None:
        """The user's gradient function as it is called."""
        return None if self.gradient is None else Callee("the gradient", self.name, self.gradient, self.form)

    def in_its_mode(self, options: CallOptions, classes: int) -> Loss:
        """Return the loss with these options, compiled for the mode."""
        key = "in its mode", options.key, self._classes_key(classes)
        found: Loss = self._once(key, lambda: self._in_its_mode(options, classes))
        return found

    def _in_its_mode(self, options: CallOptions, classes: int) -> Loss:
        return self._shaped(self.framework.in_mode(self._with(self.callee, options, classes), self.mode), options)

    def by_hand(self, options: CallOptions, classes: int) -> Loss | None:
        """Return the user's gradient function if there is one that takes the options, or None."""
        callee = self.gradient_callee
        if callee is None or not callee.takes(options):
            return None
        key = "by hand", options.key, self._classes_key(classes)
        found: Loss = self._once(key, lambda: self._with(callee, options, classes))
        return found

    def _implementation(self, options: CallOptions, classes: int) -> Implementation:
        """Return one implementation for all calls with the same options, so that each shape is compiled once."""
        key = "implementation", options.key, self._classes_key(classes)
        found: Implementation = self._once(key, lambda: self._build(options, classes))
        return found

    def _classes_key(self, classes: int) -> int | None:
        both = (self.callee, self.gradient_callee)
        return classes if any(callee is not None and callee.needs_classes for callee in both) else None

    def _build(self, options: CallOptions, classes: int) -> Implementation:
        written = all(i.written_by_hand for i in self.framework.implementations)
        loss = self._shaped(self._with(self.callee, options, classes), options)
        gradient = self.by_hand(options, classes)
        plain = Implementation(f"{self.framework.name}/{self.name}", "builtin", loss, self.framework.name)
        # The adapter would divide the gradient of a mean by the number of rows again.
        gradient = None if options.reduced and written else gradient
        differentiable = gradient is not None or not (written or self.gradient is not None)
        return replace(plain, gradient=gradient, differentiable=differentiable, reduces=options.reduced, soft=True)

    def _with(self, callee: Callee, options: CallOptions, classes: int) -> Loss:
        """Return the function with the options that it names, as the framework's arrays."""
        return callee.bound(options, classes, lambda given: self.framework.keywords(given, self.device))

    def _shaped(self, loss: Loss, options: CallOptions) -> Loss:
        """Return the loss as a function to (B,), with a check of its result's shape: adapters flatten any shape."""
        class_axis, flat = self.form.class_axis, self.framework.flat

        def checked(logits: Any, targets: Any, reduction: str = "") -> Any:
            # The options contain the reduction, so the adapter's argument is not used.
            found = loss(logits, targets)
            each = tuple(n for axis, n in enumerate(logits.shape) if axis != class_axis)
            expected = () if options.reduced else each
            shape = tuple(getattr(found, "shape", ())) if hasattr(found, "dtype") else None
            if shape != expected and (options.reduced or shape != (math.prod(each),)):
                came = f"is {type(found).__name__}" if shape is None else f"has shape {shape}"
                one = f"one number, the {options.reduction}" if options.reduced else f"{expected}, one number a row"
                raise ShapeError(f"the loss {came}; expected {one}")
            return flat(found) if len(shape) > 1 else found

        return checked

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._bound:
            self._bound[key] = make()
        return self._bound[key]


class Memory(NamedTuple):
    """The memory that logits lie in: the logits in it, all of it, and a copy of all of it from before the call."""

    logits: NDArray[Any]
    whole: NDArray[Any]
    before: NDArray[Any]

    def written_beside(self) -> bool:
        """Return whether a number beside the logits has changed."""
        inside = self.logits.copy()
        offset = self.logits.__array_interface__["data"][0] - self.whole.__array_interface__["data"][0]
        expected = self.before.copy()
        place = np.ndarray(inside.shape, inside.dtype, expected, offset, self.logits.strides)
        place[...] = inside
        return not np.array_equal(self.whole, expected, equal_nan=True)


class Laid(NamedTuple):
    """A batch in a framework's arrays, and its numbers in NumPy; ``memory`` is None if logits take all of theirs."""

    x: Any
    t: Any
    logits: NDArray[Any]
    targets: NDArray[Any]
    rows: PresentedRows
    memory: Memory | None


class Traced:
    """Single calls of one loss on arrays that may be used more than once.

    Attributes:
        fault: status and message of an exception, or None.
        misshapen: whether the fault is a result of another shape.
        written: the argument that the loss has changed, or None.
    """

    def __init__(self, candidate: Candidate, options: CallOptions, classes: int) -> None:
        self._candidate, self._options, self._classes = candidate, options, classes
        self._framework = candidate.framework
        self._seen: list[Laid] = []
        self.fault: tuple[Status, str] | None = None
        self.misshapen = False

    @property
    def written(self) -> Argument | None:
        for laid in self._seen:
            if not np.array_equal(self._framework.to_numpy(laid.x), laid.logits, equal_nan=True):
                return Argument.LOGITS
            if not np.array_equal(self._framework.to_numpy(laid.t), laid.targets):
                return Argument.TARGETS
        return None

    def laid(self, rows: PresentedRows) -> Laid:
        form = self._candidate.form
        x, t = rows.in_memory(form)
        memory = None if x.base is None else Memory(x, x.base, x.base.copy())
        given = shaped_logits(rows.logits, form), shaped_targets(rows.labels, rows.logits, form)
        found = Laid(self._own(x), self._own(t), *given, rows, memory)
        self._seen.append(found)
        return found

    def next(self, laid: Laid) -> Laid:
        """Return the arrays of the next call with the same numbers: new ones if the loss may overwrite them."""
        return self.laid(laid.rows) if self._candidate.form.may_overwrite else laid

    def unrecorded(self, laid: Laid) -> Laid:
        """Return the arrays of the next call like `next`, but a change of new ones is not recorded."""
        return laid if self.next(laid) is laid else self._seen.pop()

    @property
    def written_beside(self) -> bool:
        """Whether the loss has changed memory beside its logits."""
        return any(laid.memory is not None and laid.memory.written_beside() for laid in self._seen)

    def both(self, laid: Laid, between: Callable[[], Any] = lambda: None) -> dict[str, NDArray[Any]]:
        """Return loss and gradient, copied after ``between`` was called."""
        by_hand = self._candidate.by_hand(self._options, self._classes)
        if by_hand is None and self._framework.autograd is not None:
            rows, pull = self._autograd.forward(self._loss, laid.x, laid.t, repeatedly=False)
            between()
            return {"loss": self._copied(rows), "gradient": self._in_rows(pull(None))}
        following = laid if by_hand is None else self.next(laid)
        rows = self._loss(laid.x, laid.t)
        between()
        found = {"loss": self._copied(rows)}
        return found if by_hand is None else found | {"gradient": self._in_rows(by_hand(following.x, following.t))}

    def transformed(self, call: CallKind, laid: Laid, direction: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the results of a call through a transformation of the framework."""
        run = self._framework.transformed[TRANSFORMATIONS[call]].run
        found = run(self._loss, laid.x, laid.t, self._own(direction))
        return {name: self._in_rows(values) for name, values in found.items()}

    def in_threads(self, laid: Sequence[Laid]) -> list[list[dict[str, NDArray[Any]]]]:
        """Return loss and gradient of several calls with each batch, in a thread for each batch."""
        return at_the_same_time([partial(self._both_in_a_thread, each) for each in laid])

    def _both_in_a_thread(self, laid: Laid) -> dict[str, NDArray[Any]]:
        # These settings hold for one thread.
        with self._framework.as_users_call_it(laid.logits.dtype), self._framework.placed(self._candidate.device):
            return self.both(self.next(laid))

    def gradient(self, laid: Laid, upstream: NDArray[Any] | float, *, apart: bool = False) -> NDArray[Any]:
        """Return the gradient of the losses times their factors, or of a sum times one factor.

        With ``apart`` other numbers lie between the factors in memory.
        """
        rows, pull = self._autograd.forward(self._loss, laid.x, laid.t, repeatedly=False)
        if isinstance(upstream, float):
            return self._in_rows(pull(self._autograd.spread(rows, upstream)))
        return self._in_rows(pull(self._upstream(upstream, rows, apart=apart)))

    def two_gradients(self, laid: Laid, upstream: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        if self._candidate.form.may_overwrite:  # its first backward pass may overwrite what the second would read
            return self.gradient(laid, upstream), self.gradient(self.next(laid), upstream)
        rows, pull = self._autograd.forward(self._loss, laid.x, laid.t, repeatedly=True)
        given = self._upstream(upstream, rows)
        return self._in_rows(pull(given)), self._in_rows(pull(given))

    def untracked(self, laid: Laid) -> NDArray[Any]:
        return self._copied(self._autograd.untracked(self._loss, laid.x, laid.t))

    @property
    def _autograd(self) -> Autograd:
        found = self._framework.autograd
        assert found is not None  # noqa: S101 - for the type checker: `Candidate.cannot` excludes calls without it
        return found

    @property
    def _loss(self) -> Loss:
        return self._candidate.in_its_mode(self._options, self._classes)

    def _own(self, values: NDArray[Any]) -> Any:
        return self._framework.to_array(values, self._candidate.device)

    def _upstream(self, upstream: NDArray[Any], rows: Any, *, apart: bool = False) -> Any:
        """Return the factors in the dtype of the losses, which may differ from that of the logits."""
        with np.errstate(over="ignore"):
            factors = upstream.astype(self._framework.to_numpy(rows).dtype)
        return self._own(np.pad(factors[:, None], ((0, 0), (1, 1)))[:, 1] if apart else factors)

    def _in_rows(self, gradient: Any) -> NDArray[Any]:
        """Return a copy of a gradient as (B, C)."""
        return rows_of(self._copied(gradient), self._candidate.form)

    def _copied(self, values: Any) -> NDArray[Any]:
        # The next call may overwrite the framework's memory.
        return np.array(self._framework.to_numpy(values))
