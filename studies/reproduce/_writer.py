"""The program of a case in a cell: the smallest batch in which the measurement is the same, and what it prints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cases import Case, LinearCase
from ...core.errors import UsageError
from ...core.formats import Format
from ...core.literals import short_list
from ...core.vocabulary import Problem, Quantity, Status, grade_rank
from ...execution.plan import Cell, Group, PlannedCall, single_group
from ...execution.pool import Pools
from ...execution.program import ProgramRequest, Written
from ...execution.programs import (
    MAX_REMARKED,
    ProgramCall,
    exact_values,
    graded_as,
    in_order_shown,
    shown_index,
    title,
)
from ...execution.worker import Outcome
from ...grading import Graded
from .._cells import REDUCED
from .._measurer import Measurer

Array = NDArray[Any]

DATA = "{name}.npy"


@dataclass(frozen=True, eq=False)
class Writer:
    """Measures a case in a cell, and has its program written in the cell's worker."""

    pools: Pools
    cell: Cell
    fmt: Format
    measurer: Measurer
    _groups: dict[Case, Group] = field(default_factory=dict)

    def write(self, case: Case, row: int | None, quantity: Quantity | None, *, with_file: bool) -> Written:
        """Return the program of the case, or of one of its rows."""
        in_run = self.measurer.outcome(case, self._call(case))
        chosen = quantity or self._worst(case, in_run, row)
        whole = self._alone(case, in_run)
        shown, outcome, place = case, whole, row
        can_be_alone = case.rows > 1 and case.reduction == "none" and not chosen.of_batch
        if row is not None and row != REDUCED and can_be_alone:
            one = _one_row(case, row)
            alone = self._alone(one)
            if _same(_values(alone, chosen), _values(in_run, chosen), row):
                shown, outcome, place = one, alone, None
        if row is not None and row != REDUCED and chosen is Quantity.LOSS and case.reduction != "none":
            other = next(q for q in case.problem.quantities if q.startswith("gradient"))
            raise UsageError(f"{case.id} has a reduced loss, in row -1; give --row -1, or --quantity {other}")
        index = shown_index(
            _values(outcome, chosen), self._exact(shown, chosen), self.fmt,
            None if place == REDUCED or chosen.of_batch else place, has_errors=not case.invalid,
        )  # fmt: skip
        request = self._request(shown, chosen, index, with_file=with_file)
        remarks = self._remarks(case, chosen, in_run, whole, row)
        ((_, written),) = self.pools.evaluate([ProgramCall(self.cell, replace(request, remarks=tuple(remarks)))])
        if not isinstance(written, Written):
            return Written(problem=written.detail)
        return written

    def _call(self, case: Case) -> PlannedCall:
        if case not in self._groups:  # its exact answers are computed once
            self._groups[case] = single_group(case, self.fmt).with_convention(self.cell.implementation.convention)
        return PlannedCall(self.cell, self._groups[case])

    def _alone(self, case: Case, in_run: Outcome | None = None) -> Outcome:
        """Return the outcome of the case in a call without other rows."""
        if in_run is not None and not in_run.values:
            return in_run
        ((_, outcome),) = self.pools.evaluate([self._call(case)])
        return outcome

    def _worst(self, case: Case, outcome: Outcome, row: int | None) -> Quantity:
        """Return the quantity with the worst grade, in a row or in all."""
        graded = self._call(case).graded(outcome)
        if not graded or (row == REDUCED and case.problem is Problem.LOGITS):
            return Quantity.LOSS
        if row is not None and row != REDUCED and case.reduction != "none":
            graded.pop(Quantity.LOSS, None)
        return max(
            in_order_shown(case.problem, graded),
            key=lambda q: max(map(grade_rank, _rows(graded[q], row, q, case)), default=-1),
        )

    def _exact(self, case: Case, quantity: Quantity) -> NDArray[np.float64]:
        return exact_values(self._call(case).group, quantity)

    def _request(self, case: Case, quantity: Quantity, index: tuple[int, ...], *, with_file: bool) -> ProgramRequest:
        exact = None if case.invalid else self._exact(case, quantity)[index]
        given = self._call(case).evaluation()
        return ProgramRequest(
            given.framework, given.implementation, given.batch, given.device, given.mode, quantity.value, index, exact,
            variables=dict(self.cell.variables), data=DATA if with_file else None,
        )  # fmt: skip

    def _remarks(
        self, case: Case, quantity: Quantity, in_run: Outcome, alone: Outcome, row: int | None
    ) -> Iterator[str]:
        yield title(case.id, row, self.cell)
        graded = self._call(case).graded(in_run)
        if quantity in graded:
            is_one = graded[quantity].grade.size == 1
            rows = slice(None) if row is None or row == REDUCED or is_one else slice(row, row + 1)
            pairs = zip(graded[quantity].grade[rows], graded[quantity].verdict[rows], strict=True)
            grade, verdict = max(pairs, key=lambda pair: grade_rank(pair[0]))
            yield graded_as(quantity, grade, verdict)
        elif in_run.status is not Status.OK:
            yield f"The call gives no {quantity}: {' '.join(in_run.message.split())[:160]}"
        one, other = _values(in_run, quantity), _values(alone, quantity)
        if one is not None and other is not None and not _same(other, one, None):
            kept = one if row is None or row == REDUCED or one.ndim == 0 or quantity.of_batch else one[row]
            there = f": {short_list(np.asarray(kept))}" if kept.size <= MAX_REMARKED else ""
            yield f"In a run, this case shares its call with other rows, and the {quantity} differs{there}."


def _rows(graded: Graded, row: int | None, quantity: Quantity, case: Case) -> Sequence[str | None]:
    if row is None or row == REDUCED or quantity.of_batch or (quantity is Quantity.LOSS and case.reduction != "none"):
        return list(graded.grade)
    return [graded.grade[row]]


def _one_row(case: Case, row: int) -> Case:
    rows = slice(row, row + 1)
    hidden: dict[str, Any] = {"hidden": case.hidden[rows]} if isinstance(case, LinearCase) else {}
    return replace(case, logits=case.logits[rows], targets=case.targets[rows], **hidden)


def _values(outcome: Outcome, quantity: Quantity) -> Array | None:
    values: Mapping[str, Array] = dict(outcome.values)
    return values.get(quantity)


def _same(one: Array | None, other: Array | None, row: int | None) -> bool:
    """Return whether two results, or one and a row of the other, have the same bits; all NaN are equal."""
    if one is None or other is None or (row is not None and (other.ndim == 0 or one.ndim == 0)):
        return False
    kept = other if row is None else other[row : row + 1]
    return one.dtype == kept.dtype and one.shape == kept.shape and np.array_equal(
        one.astype(np.float64), kept.astype(np.float64), equal_nan=True
    )  # fmt: skip
