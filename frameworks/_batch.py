"""One way to compute the loss, and the input of one call."""

import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.conventions import STANDARD, Convention
from ..core.options import OptionValues
from ..core.vocabulary import QUANTITIES


@dataclass(frozen=True)
class Implementation:
    """One way to compute the loss in one framework. All arrays are the framework's own.

    Attributes:
        name: ``framework/formula``, or ``framework/dotted.name[options]`` for a built-in.
        formula: ``naive``, ``lse``, ``log1p`` or ``builtin``.
        loss: logits (B, C) and integer targets (B,) to the row losses (B,). If ``reduces`` it also takes
            ``reduction="none" | "mean" | "sum"``, and it may take the options of `options.LossOptions` as keywords: one
            that it does not take, Python says so.
        probabilities: logits (B, C) to the probabilities (B, C), where the implementation forms them.
        gradient: logits and targets to the gradient (B, C) of the summed row losses, where it is written by
            hand; None where the framework differentiates.
        differentiable: False for a loss that has no gradient at all.
        soft: whether the targets may be class probabilities (B, C).
        normalized: whether it documents that class probabilities must sum to 1.
        class_axis: for a loss that documents more dimensions than two, where its classes lie: 1 or -1; None for
            a loss of logits (B, C) alone.
        package: the import package whose version decides the result.
        modes: the ways it can be run, a subset of its framework's.
        devices: those it runs on; None for all of its framework's.
        plain_modes: those of them that are run on logits and class indices alone: each loss option would be compiled
            anew.
        convention: the definition of class weights and their mean that it documents, with the source, where it is not
            `conventions.STANDARD`: it is held to that.
    """

    name: str
    formula: str
    loss: Callable[..., Any]
    package: str
    probabilities: Callable[..., Any] | None = None
    gradient: Callable[..., Any] | None = None
    differentiable: bool = True
    reduces: bool = False
    soft: bool = False
    normalized: bool = False
    class_axis: int | None = None
    modes: tuple[str, ...] = ("eager",)
    devices: tuple[str, ...] | None = None
    plain_modes: tuple[str, ...] = ()
    convention: Convention = STANDARD

    @property
    def quantities(self) -> tuple[str, ...]:
        """What it gives, in the order in which `Framework.evaluate` yields it."""
        given = (self.probabilities is not None, True, self.differentiable)
        return tuple(q for q, is_given in zip(QUANTITIES, given, strict=True) if is_given)

    @property
    def written_by_hand(self) -> bool:
        """Whether its gradient, if it has one, is written by hand; the framework differentiates otherwise."""
        return self.gradient is not None or not self.differentiable


@dataclass(frozen=True)
class Batch:
    """The input of one call.

    Attributes:
        logits: (B, C) of one of the four NumPy dtypes.
        targets: class indices (B,), or class probabilities (B, C) of the logits' dtype.
        reduction: ``none``, ``mean`` or ``sum``.
        options: those of `options.LossOptions` that are set, as the logits' dtype holds them, ``weight`` (C,) of it.
        layout: ``rows``, or ``transposed``, ``strided`` or ``spatial``.
        common_rows: rows that a framework that compiles each shape may compute with instead of B, so that batches of
            one width have one shape; None where there is no such number.
        filler: how many of the last rows only fill the batch up: nobody sees their results, and no reduction counts
            them.
    """

    logits: NDArray[Any]
    targets: NDArray[Any]
    reduction: str = "none"
    options: OptionValues = field(default_factory=OptionValues)
    layout: str = "rows"
    common_rows: int | None = None
    filler: int = 0

    def filled(self) -> "Batch":
        """The batch with its own rows repeated behind it, up to ``common_rows``; one without rows stays without."""
        rows = len(self.logits)
        if self.common_rows is None or not 0 < rows < self.common_rows:
            return self
        repeated = np.arange(self.common_rows) % rows
        filler = self.common_rows - rows
        return replace(self, logits=self.logits[repeated], targets=self.targets[repeated], filler=filler)

    @property
    def program_key(self) -> Hashable:
        """Equal for batches that a compiled program treats alike where their shapes and dtypes are equal too."""
        options = tuple((name, _hashable(value)) for name, value in sorted(self.options.items()))
        # Rows that are not reduced are left out after the program.
        filler = 0 if self.reduction == "none" else self.filler
        return self.reduction, self.layout == "spatial", filler, options

    def without_rows(self) -> "Batch":
        """What a compiled program keeps of a batch: all but its arrays."""
        nothing = np.empty((0, 0))
        return replace(self, logits=nothing, targets=nothing)

    def in_memory(self) -> NDArray[Any]:
        """The logits (B, C) as they lie in memory; ``spatial`` is done by the framework, on its own array."""
        if self.layout == "transposed":
            return np.asfortranarray(self.logits)
        if self.layout == "strided":
            wide = np.zeros((len(self.logits), 2 * self.logits.shape[1]), self.logits.dtype)
            wide[:, ::2] = self.logits
            return wide[:, ::2]
        return self.logits

    def refusal(self, implementation: Implementation) -> str | None:
        """Why the implementation, by what it documents, does not take this batch; None if it does."""
        if self.targets.ndim == 2 and not implementation.soft:
            return "takes class indices, not class probabilities"
        if self.targets.ndim == 2 and implementation.normalized and not self._sums_to_one():
            return "documents class probabilities that sum to 1"
        if self.layout == "spatial" and implementation.class_axis is None:
            return "takes logits (B, C) alone"
        if self.reduction == "mean" and not implementation.reduces and {"weight", "ignore_index"} & set(self.options):
            return "returns row losses and defines no mean over weighted or ignored rows"
        lacking = [name for name in self.options if not _takes(implementation.loss, name)]
        return f"takes no {' and no '.join(lacking)}" if lacking else None

    def _sums_to_one(self) -> bool:
        # As far as rounding each probability to the dtype allows.
        slack = float(np.finfo(np.float16).eps) * self.targets.shape[1]
        return bool(np.all(np.abs(self.targets.astype(np.float64).sum(axis=1) - 1) <= slack))

    def spatial(self, logits: Any, targets: Any, class_axis: int | None) -> tuple[Any, Any]:
        """A framework's own logits (B, C) and targets as the positions of one image: (1, C, B), or (1, B, C)."""
        if self.layout != "spatial":
            return logits, targets
        flip = class_axis == 1
        soft = targets.ndim == 2
        return (logits.T if flip else logits)[None], (targets.T if soft and flip else targets)[None]


def _hashable(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.tobytes()
    key: Hashable = value
    return key


def _takes(loss: Callable[..., Any], option: str) -> bool:
    """Whether the function's signature has the keyword; one that tells no signature is left to say so when called."""
    try:
        parameters = inspect.signature(loss).parameters
    except ValueError:
        return True
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def reduce_rows(rows: Any, reduction: str) -> Any:
    """Row losses (B,), an array with such methods, as they are, or their ``mean`` or ``sum``."""
    return rows if reduction == "none" else getattr(rows, reduction)()
