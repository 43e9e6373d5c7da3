"""One call of an implementation: the batch that a worker evaluates, and the division of a call that fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ...core.vocabulary import SOUND, Problem
from ...frameworks import Batch, LinearBatch
from ...frameworks.stages import TRACED
from ...grading import Graded, grade_by
from .. import worker
from ..worker import Evaluation, Outcome
from ._cells import Cell
from ._groups import Group


@dataclass(frozen=True, eq=False)
class Call(ABC):
    """A batch to evaluate in a cell."""

    cell: Cell

    @property
    def function(self) -> Callable[[Evaluation], Outcome]:
        """The function of the module `worker` that the call runs."""
        return worker.call

    @property
    def kind(self) -> Hashable:
        """A key that is equal for calls that can share compiled programs: dtype and width."""
        return self.cell.dtype

    @abstractmethod
    def batch(self) -> Batch | LinearBatch:
        """Return the input of the call."""

    def evaluation(self) -> Evaluation:
        """Return the argument of `function`."""
        cell = self.cell
        return Evaluation(cell.framework, cell.implementation.name, self.batch(), cell.device, cell.call_mode)

    def divided(self) -> Sequence[Self]:
        """Return the same work as smaller calls; empty if the call cannot be divided."""
        return ()


@dataclass(frozen=True, eq=False)
class PlannedCall(Call):
    """One group evaluated in one cell; ``traced`` calls return the stages of a formula instead of its quantities."""

    group: Group
    traced: bool = False

    @property
    def function(self) -> Callable[[Evaluation], Outcome]:
        return worker.trace_stages if self.traced else worker.call

    @property
    def kind(self) -> Hashable:
        return self.cell.dtype, self.group.cases[0].classes

    def batch(self) -> Batch | LinearBatch:
        batch = self.group.batch()
        if not self.traced or isinstance(batch, LinearBatch):
            return batch
        return replace(batch, targets=batch.targets.astype(np.int64), layout="rows")

    def divided(self) -> tuple[PlannedCall, ...]:
        singles = () if self.traced else self.group.divided()
        return tuple(replace(self, group=group) for group in singles)

    def graded(self, outcome: Outcome) -> dict[str, Graded]:
        """Return the grades of the quantities in the outcome."""
        return {q: grade_by(self.group.standard(q, self.cell.implementation), array) for q, array in outcome.values}

    @property
    def traceable(self) -> bool:
        """Whether `worker.trace_stages` can trace it: a written formula in eager mode on plain row losses."""
        if self.group.problem is not Problem.LOGITS:
            return False
        written = self.cell.implementation.trace in TRACED and self.cell.base_mode == "eager"
        case = self.group.cases[0]
        return written and not self.group.options and self.group.reduction == "none" and not case.invalid


@dataclass(frozen=True, eq=False)
class GradedCall:
    """A completed call, its outcome, and the grades of the quantities that it returned."""

    call: PlannedCall
    outcome: Outcome
    graded: dict[str, Graded]

    @property
    def needs_trace(self) -> bool:
        """Whether a row went wrong in a formula whose stages can be traced."""
        wrong = any(not np.isin(g.verdict, SOUND).all() for g in self.graded.values())
        return wrong and self.call.traceable
