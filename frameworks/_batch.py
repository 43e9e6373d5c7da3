"""An implementation, one way to compute the loss; and a batch, the input of one call."""

import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..core.conventions import STANDARD, Convention
from ..core.formats import Format, get_format
from ..core.options import OPTIONS, OptionValues
from ..core.vocabulary import Problem, Quantity


@dataclass(frozen=True)
class Implementation:
    """One way to compute the loss in one framework. All arrays are the framework's own.

    Attributes:
        name: ``framework/formula``, or ``framework/dotted.name[options]`` for a built-in.
        formula: ``naive``, ``lse``, ``log1p``, ``online`` or ``builtin``.
        loss: logits (B, C) and integer targets (B,) to the row losses (B,). If ``reduces`` it also takes
            ``reduction="none" | "mean" | "sum"``. Declare the options of `options.LossOptions` that it supports as
            keyword arguments.
        probabilities: logits (B, C) to the probabilities (B, C), if the implementation computes them. Declare the
            options that change logits as keyword arguments, if the loss supports them.
        gradient: logits and targets to the gradient (B, C) of the summed row losses, if it is written by hand;
            None if the framework differentiates. It takes the options of the loss.
        differentiable: False for a loss without a gradient.
        row_by_row: whether the package returns no row losses, so that each row costs a call. An exhaustive study
            measures it only if it is named.
        soft: whether the targets may be class probabilities (B, C).
        normalized: whether its documentation requires class probabilities to sum to 1.
        class_axis: the axis of the classes, 1 or -1, for a loss whose documentation allows more dimensions than two;
            None for a loss that takes only logits (B, C).
        package: the import package whose version decides the result.
        modes: the modes it runs in, a subset of its framework's.
        problem: what the loss is a function of. A ``linear`` loss takes hidden states (B, H), a weight (C, H), targets
            and ``bias=None`` or a bias (C,), and its class weights are the keyword ``class_weight``. It has no
            ``probabilities``. A ``gradient`` by hand also takes ``reduction`` and returns the gradients of the reduced
            loss by hidden states, weight and, if there is one, bias.
        devices: the devices it runs on; None for all of its framework's. An interpreter runs on the CPU.
        plain_modes: the modes that only run cases without loss options, since each option would be compiled again. The
            exceptions are the cases with options that break compiled code; see `cases.Case.in_every_mode`.
        convention: the documented definition of class weights and their mean, with the source, if it is not
            `conventions.STANDARD`. The loss is graded by this definition.
        on_request: whether a run measures it only if ``--implementation`` names it, alone or with others by a glob.
        traced: the name of its stages in `stages.TRACED`; None for the formula's.
    """

    name: str
    formula: str
    loss: Callable[..., Any]
    package: str
    probabilities: Callable[..., Any] | None = None
    gradient: Callable[..., Any] | None = None
    differentiable: bool = True
    reduces: bool = False
    row_by_row: bool = False
    soft: bool = False
    normalized: bool = False
    class_axis: int | None = None
    modes: tuple[str, ...] = ("eager",)
    problem: Problem = Problem.LOGITS
    devices: tuple[str, ...] | None = None
    plain_modes: tuple[str, ...] = ()
    convention: Convention = STANDARD
    on_request: bool = False
    traced: str | None = None

    @property
    def trace(self) -> str:
        """The name of its stages among those of `stages.TRACED`, if they are known."""
        return self.traced or self.formula

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities that it returns, in the order in which `Framework.evaluate` yields them."""
        lacking = {Quantity.PROBABILITIES} if self.probabilities is None else set()
        derivatives = set(self.problem.quantities) - {Quantity.PROBABILITIES, Quantity.LOSS}
        lacking |= set() if self.differentiable else derivatives
        return tuple(q.value for q in self.problem.quantities if q not in lacking)

    @property
    def written_by_hand(self) -> bool:
        """Whether its gradient, if any, is written by hand rather than differentiated by the framework."""
        return self.gradient is not None or not self.differentiable


class WithQuantities(Protocol):
    """An implementation or its description."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities that it can return."""
        ...


@dataclass(frozen=True)
class Batch:
    """The input of one call.

    Attributes:
        logits: (B, C) of a dtype of NumPy or ml_dtypes; only ``check`` also gives (b, t, C) or (b, C, t).
        targets: class indices (B,), or class probabilities (B, C) of the logits' dtype.
        reduction: ``none``, ``mean`` or ``sum``.
        options: the options of `options.LossOptions` that are set, rounded to the logits' dtype; ``weight`` is (C,).
        layout: ``rows``, or ``transposed``, ``strided`` or ``spatial``.
        common_rows: the number of rows that a worker may fill the batch up to, or None. Batches of one width then
            have one shape, and a framework compiles it once.
        filler: the number of filler rows at the end; their results are dropped, and reductions leave them out.
        class_axis: the axis of the classes in the logits.
        format: the format of the logits where their NumPy dtype is not the format itself (`Format.is_hosted`). Then
            target probabilities and options are numbers of the format too. A returned float64 array also holds them.
    """

    logits: NDArray[Any]
    targets: NDArray[Any]
    reduction: str = "none"
    options: OptionValues = field(default_factory=OptionValues)
    layout: str = "rows"
    common_rows: int | None = None
    filler: int = 0
    class_axis: int = 1
    format: Format | None = None

    @property
    def number_format(self) -> Format:
        """The format of the logits."""
        return get_format(self.logits.dtype) if self.format is None else self.format

    @property
    def rows(self) -> int:
        """The number of rows; of logits with positions, of all positions."""
        shape = self.logits.shape
        return math.prod(n for axis, n in enumerate(shape) if axis != self.class_axis)

    @property
    def soft(self) -> bool:
        """Whether the targets are class probabilities."""
        return self.targets.ndim == self.logits.ndim

    def part(self, rows: slice) -> "Batch":
        """Return the batch of some rows, without filler."""
        return replace(self, logits=self.logits[rows], targets=self.targets[rows], common_rows=None)

    def filled(self) -> "Batch":
        """Return the batch with its rows repeated up to ``common_rows``; an empty batch stays empty."""
        rows = len(self.logits)
        if self.common_rows is None or not 0 < rows < self.common_rows:
            return self
        repeated = np.arange(self.common_rows) % rows
        filler = self.common_rows - rows
        return replace(self, logits=self.logits[repeated], targets=self.targets[repeated], filler=filler)

    @property
    def logit_options(self) -> dict[str, float]:
        """The set options that change the logits, and so the probabilities."""
        return {name: cast("float", value) for name, value in self.options.items() if OPTIONS[name].of_logits}

    @property
    def program_key(self) -> Hashable:
        """A key that is equal for batches that can share a compiled program, given equal shapes and dtypes."""
        # Without a reduction the filler rows are dropped after the program has run.
        filler = 0 if self.reduction == "none" else self.filler
        return self.reduction, self.layout == "spatial", filler, options_key(self.options)

    @property
    def kind(self) -> tuple[str, int]:
        """The dtype and the number of classes: batches of one kind follow each other in a worker."""
        return self.number_format.name, self.logits.shape[1]

    def shape_of(self, quantity: str) -> tuple[int, ...]:
        """Return the shape of a quantity, with the filler rows."""
        if quantity == Quantity.LOSS:
            return (self.rows,) if self.reduction == "none" else ()
        return self.logits.shape

    def quantities(self, implementation: WithQuantities) -> tuple[str, ...]:
        """Return the quantities that an implementation, or its description, returns for the batch."""
        return implementation.quantities

    def without_rows(self) -> "Batch":
        """Return the batch without its arrays, which a compiled program can keep."""
        nothing = np.empty((0, 0))
        return replace(self, logits=nothing, targets=nothing)

    def in_memory(self) -> NDArray[Any]:
        """Return the logits (B, C) in the batch's memory layout; the framework handles ``spatial`` on its own array."""
        return in_layout(self.logits, self.layout)

    def refusal(self, implementation: Implementation) -> str | None:
        """Return why the implementation's documentation excludes this batch; None if it does not."""
        if self.soft and not implementation.soft:
            return "takes class indices, not class probabilities"
        if self.soft and implementation.normalized and not self._sums_to_one():
            return "documents class probabilities that sum to 1"
        if self.layout == "spatial" and implementation.class_axis is None:
            return "takes logits (B, C) alone"
        if self.reduction == "mean" and not implementation.reduces and {"weight", "ignore_index"} & set(self.options):
            return "returns row losses and defines no mean over weighted or ignored rows"
        lacking = missing_options(implementation.loss, self.options)
        if lacking is not None or implementation.probabilities is None:
            return lacking
        lacking = missing_options(implementation.probabilities, self.logit_options)
        return None if lacking is None else f"{lacking} for its probabilities"

    def _sums_to_one(self) -> bool:
        # Up to the rounding of each probability to the dtype.
        slack = float(np.finfo(np.float16).eps) * self.targets.shape[1]
        return bool(np.all(np.abs(self.targets.astype(np.float64).sum(axis=1) - 1) <= slack))

    def spatial(self, logits: Any, targets: Any, class_axis: int | None) -> tuple[Any, Any]:
        """Return a framework's logits (B, C) and targets as the positions of one image: (1, C, B), or (1, B, C)."""
        if self.layout != "spatial":
            return logits, targets
        flip = class_axis == 1
        soft = targets.ndim == 2
        return (logits.T if flip else logits)[None], (targets.T if soft and flip else targets)[None]


def in_layout(values: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return an array of two axes or more as ``transposed`` or ``strided`` in memory; unchanged for other layouts."""
    if layout == "transposed":
        if values.ndim == 2:
            return np.asfortranarray(values)
        return np.ascontiguousarray(values.swapaxes(-2, -1)).swapaxes(-2, -1)
    if layout == "strided":
        wide = np.zeros((*values.shape[:-1], 2 * values.shape[-1]), values.dtype)
        wide[..., ::2] = values
        return wide[..., ::2]
    return values


def options_key(options: Mapping[str, Any]) -> Hashable:
    """Return a key that is equal for equal options."""
    return tuple((name, _hashable(value)) for name, value in sorted(options.items()))


def _hashable(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.tobytes()
    key: Hashable = value
    return key


def missing_options(loss: Callable[..., Any], options: Iterable[str]) -> str | None:
    """Return which of the options a loss does not take as keywords, in words; None if it takes all."""
    lacking = [name for name in options if not _takes(loss, name)]
    return f"takes no {' and no '.join(lacking)}" if lacking else None


def _takes(loss: Callable[..., Any], option: str) -> bool:
    """Return whether the function's signature has the keyword; True for a function without a readable signature."""
    try:
        parameters = inspect.signature(loss).parameters
    except ValueError:
        return True
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def reduce_rows(rows: Any, reduction: str) -> Any:
    """Return row losses (B,) unchanged for ``none``, else their ``mean`` or ``sum``, which are methods of the array."""
    return rows if reduction == "none" else getattr(rows, reduction)()
