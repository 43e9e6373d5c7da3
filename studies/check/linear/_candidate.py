"""The loss under check: its calls in a framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.formats import FORMATS
from ....core.vocabulary import Status
from ....execution import registry
from ....frameworks import Framework, in_layout
from ..forms._form import Returns
from ..forms._options import CallOptions
from ..measuring._faults import fault
from ..measuring._loss import ShapeError
from ._callee import LinearCallee
from ._form import LinearForm, WeightLayout
from ._question import Question

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class LinearCall:
    """How a batch is presented to the loss.

    Attributes:
        layout: the memory of hidden states and weight: ``rows``, ``strided`` or ``transposed``.
        by: the arguments that require a gradient; None for all.
        upstream: the upstream gradient: None for ones, one number for the whole loss, or a number for each row.
        passes: how often the graph is differentiated.
        calls: how often the loss is called with the same arrays.
        between: whether another batch is computed between the loss and its gradients.
        tracked: whether the framework tracks the call for differentiation.
    """

    layout: str = "rows"
    by: tuple[str, ...] | None = None
    upstream: Array | float | None = None
    passes: int = 1
    calls: int = 1
    between: bool = False
    tracked: bool = True


AS_GIVEN = LinearCall()


@dataclass(frozen=True, eq=False)
class Ran:
    """The result of a call.

    Attributes:
        passes: loss and gradients of each pass, or of each call.
        status, detail: of an exception.
        misshapen: whether the exception is a result of another shape.
        written: the argument that the loss has changed, or None.
    """

    passes: tuple[Mapping[str, Array], ...] = ()
    status: Status = Status.OK
    detail: str = ""
    misshapen: bool = False
    written: str | None = None


@dataclass(frozen=True, eq=False)
class LinearCandidate:
    """A loss of hidden states in a framework, on a device and in a mode."""

    framework: Framework
    callee: LinearCallee
    device: str
    mode: str
    _bound: dict[Any, Callable[..., Any]] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.callee.name

    @property
    def form(self) -> LinearForm:
        return self.callee.form

    @cached_property
    def version(self) -> str:
        """The framework's version."""
        return registry.version_of(self.framework.implementations[0].package) or ""

    @property
    def differentiates(self) -> bool:
        return self.framework.linear_autograd is not None

    def run(self, question: Question, call: LinearCall = AS_GIVEN) -> Ran:
        """Return loss and gradients of a batch; an exception of the loss ends the call and is returned."""
        found: list[dict[str, Array]] = []
        given = {name: self._laid(name, array, call.layout) for name, array in question.leaves.items()}
        before = {name: array.copy() for name, array in given.items()} | {"targets": question.targets}
        arrays: dict[str, Any] = {}
        status, detail, misshapen = Status.OK, "", False
        try:
            with self.framework.as_users_call_it(question.fmt.dtype), self.framework.placed(self.device):
                arrays = {name: self._own(array) for name, array in given.items()}
                arrays["targets"] = self._own(question.targets.copy())
                for _ in range(call.calls):
                    self._called(question, call, arrays, found)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the loss is the user's code
            misshapen = isinstance(error, ShapeError)
            status, detail = fault(self.framework, error, question.fmt.name)
        written = next((name for name, array in arrays.items() if self._changed(array, before[name])), None)
        return Ran(tuple(found), status, detail, misshapen, written)

    def _called(
        self, question: Question, call: LinearCall, arrays: Mapping[str, Any], found: list[dict[str, Array]]
    ) -> None:
        """Call the loss, and append its results as they come."""
        loss, autograd = self._loss(question.options), self.framework.linear_autograd
        targets = arrays["targets"]
        leaves = {name: array for name, array in arrays.items() if name != "targets"}
        if autograd is None or not call.tracked:
            result = loss(**arrays) if autograd is None else autograd.untracked(loss, leaves, targets)
            found.append({"loss": self._checked(result, question)})
            return
        by = tuple(leaves) if call.by is None else call.by
        repeatedly = call.passes > 1
        result, pull = autograd.forward(loss, leaves, targets, by=by, repeatedly=repeatedly)
        found.append({"loss": self._checked(result, question)})
        if call.between:
            other = leaves | {"hidden": self._own((question.hidden + question.hidden.dtype.type(1)).copy())}
            autograd.forward(loss, other, targets, by=by)
        upstream = self._upstream(call.upstream, result)
        for turn in range(call.passes):
            gradients = {f"gradient_{name}": self._gradient(name, g) for name, g in pull(upstream).items()}
            if turn:
                found.append(dict(found[-1]))
            found[-1].update(gradients)

    def _loss(self, options: CallOptions) -> Callable[..., Any]:
        """Return one function for all calls with the same options, so that each shape is compiled once."""
        if options.key not in self._bound:
            bound = self.callee.bound(options, lambda given: self.framework.keywords(given, self.device))
            self._bound[options.key] = self.framework.in_mode(bound, self.mode)
        return self._bound[options.key]

    def _laid(self, name: str, array: Array, layout: str) -> Array:
        own = array.T if name == "weight" and self.form.weight_layout is WeightLayout.HC else array
        return in_layout(np.array(own, order="C"), layout if own.ndim == 2 else "rows")

    def _own(self, values: Array) -> Any:
        return self.framework.to_array(values, self.device)

    def _upstream(self, upstream: Array | float | None, result: Any) -> Any:
        if isinstance(upstream, float):
            assert self.framework.autograd is not None  # noqa: S101 - for the type checker
            return self.framework.autograd.spread(result, upstream)
        return None if upstream is None else self._own(upstream.astype(self.framework.to_numpy(result).dtype))

    def _checked(self, result: Any, question: Question) -> Array:
        """Return a copy of the loss.

        Raises:
            ShapeError: for another shape or dtype.
        """
        options = question.options
        expected = () if options.reduced else (len(question.hidden),)
        shape = tuple(getattr(result, "shape", ())) if hasattr(result, "dtype") else None
        if shape != expected:
            came = f"is {type(result).__name__}" if shape is None else f"has shape {shape}"
            one = f"one number, the {options.reduction}" if options.reduced else f"{expected}, one number a row"
            raise ShapeError(f"the loss {came}; expected {one}")
        return self._copied(result, "the loss")

    def _gradient(self, name: str, gradient: Any) -> Array:
        found = self._copied(gradient, f"the gradient by {name}")
        return found.T if name == "weight" and self.form.weight_layout is WeightLayout.HC else found

    def _copied(self, values: Any, what: str) -> Array:
        # The next call may overwrite the framework's memory.
        found = np.array(self.framework.to_numpy(values))
        if found.dtype.name not in FORMATS:
            raise ShapeError(f"{what} has dtype {found.dtype}; expected one of {', '.join(FORMATS)}")
        return found

    def _changed(self, array: Any, before: Array) -> bool:
        after = self.framework.to_numpy(array)
        floating = before.dtype.kind != "i"
        return not np.array_equal(after, before, equal_nan=floating)

    @property
    def returns_rows(self) -> bool:
        return self.form.returns is Returns.ROWS
