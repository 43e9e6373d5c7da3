"""One call of an implementation: what a worker evaluates, and how the call is divided when it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ...core.vocabulary import SOUND
from ...frameworks import Batch
from ...frameworks.stages import FORMULAS
from ...grading import Graded, grade_by
from .. import worker
from ..worker import Evaluation, Outcome
from ._cells import Cell
from ._groups import Group


@dataclass(frozen=True, eq=False)
class Call(ABC):
    """A batch to be evaluated in a cell."""

    cell: Cell

    @property
    def function(self) -> Callable[[Evaluation], Outcome]:
        """The function of `worker` that the call runs."""
        return worker.call

    @property
    def kind(self) -> Hashable:
        """Equal for calls that a compiling framework can serve by the same programs: dtype and width."""
        return self.cell.dtype

    @abstractmethod
    def batch(self) -> Batch:
        """The input."""

    def evaluation(self) -> Evaluation:
        """The function's argument."""
        cell = self.cell
        return Evaluation(cell.framework, cell.implementation.name, self.batch(), cell.device, cell.base_mode)

    def divided(self) -> Sequence[Self]:
        """The same work in smaller calls; empty where there is nothing to divide."""
        return ()


@dataclass(frozen=True, eq=False)
class PlannedCall(Call):
    """One group given to one cell; ``traced`` calls return the stages of a formula instead of its quantities."""

    group: Group
    traced: bool = False

    @property
    def function(self) -> Callable[[Evaluation], Outcome]:
        return worker.trace_stages if self.traced else worker.call

    @property
    def kind(self) -> Hashable:
        return self.cell.dtype, self.group.cases[0].classes

    def batch(self) -> Batch:
        batch = self.group.batch()
        return replace(batch, targets=batch.targets.astype(np.int64), layout="rows") if self.traced else batch

    def divided(self) -> tuple[PlannedCall, ...]:
        singles = () if self.traced else self.group.divided()
        return tuple(replace(self, group=group) for group in singles)

    def graded(self, outcome: Outcome) -> dict[str, Graded]:
        """The grades of the quantities that the call returned."""
        return {q: grade_by(self.group.standard(q, self.cell.implementation), array) for q, array in outcome.values}

    @property
    def traceable(self) -> bool:
        """Whether `worker.trace_stages` can compute it: a written formula, eager, on row losses alone."""
        written = self.cell.implementation.formula in FORMULAS and self.cell.base_mode == "eager"
        case = self.group.cases[0]
        return written and not self.group.options and self.group.reduction == "none" and not case.invalid


@dataclass(frozen=True, eq=False)
class GradedCall:
    """A call that was made, and the grades of the quantities that it returned."""

    call: PlannedCall
    outcome: Outcome
    graded: dict[str, Graded]

    @property
    def needs_trace(self) -> bool:
        """Whether a row went wrong in a formula whose stages can be traced."""
        wrong = any(not np.isin(g.verdict, SOUND).all() for g in self.graded.values())
        return wrong and self.call.traceable
