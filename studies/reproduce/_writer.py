"""The program of a case in a cell: the smallest batch in which the measurement is the same, and what it prints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cases import Case, LinearCase
from ...core.errors import UsageError
from ...core.formats import Format, ulp
from ...core.literals import short_list
from ...core.vocabulary import Grade, Problem, Quantity, Status, grade_rank
from ...execution.plan import Call, Cell, Group, LinearGroup, PlannedCall, single_group
from ...execution.pool import Pools
from ...execution.program import ProgramRequest, Written, write
from ...execution.worker import Outcome
from ...frameworks import Batch, LinearBatch
from ...grading import Graded
from .._cells import REDUCED
from .._measurer import Measurer

Array = NDArray[Any]

MAX_REMARKED = 12  # numbers of a result in a remark
MAX_PRINTED = 64  # numbers of a result; of a larger one, the program prints the entry with the largest error
DATA = "{name}.npy"


@dataclass(frozen=True, eq=False)
class _WriteCall(Call):
    """The call of a worker that writes a program."""

    request: ProgramRequest

    @property
    def function(self) -> Any:
        return write

    def batch(self) -> Batch | LinearBatch:
        return self.request.batch

    def evaluation(self) -> ProgramRequest:
        return self.request


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
        index = self._index(shown, outcome, chosen, None if place == REDUCED or chosen.of_batch else place)
        request = self._request(shown, chosen, index, with_file=with_file)
        remarks = self._remarks(case, chosen, in_run, whole, row)
        ((_, written),) = self.pools.evaluate([_WriteCall(self.cell, replace(request, remarks=tuple(remarks)))])
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
        # Of equal grades the first: probabilities, which few look at, come last.
        order = sorted((q for q in case.problem.quantities if q in graded), key=Quantity.PROBABILITIES.__eq__)
        return max(order, key=lambda q: max(map(grade_rank, _rows(graded[q], row, q, case)), default=-1))

    def _index(self, case: Case, outcome: Outcome, quantity: Quantity, row: int | None) -> tuple[int, ...]:
        """Return the part of the result that is printed: all if it is small, else the entry with the largest error."""
        values, exact = _values(outcome, quantity), self._exact(case, quantity)
        size = exact.size if row is None else exact[row].size
        start = () if row is None else (row,)
        if size <= MAX_PRINTED or exact.ndim == 0:
            return start
        if values is None:
            return start or (0,)
        computed = values.astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = np.abs(computed - exact) / ulp(exact, self.fmt)
        error[(computed == exact) | (np.isnan(computed) & np.isnan(exact))] = 0
        error = np.nan_to_num(error, nan=np.inf, posinf=np.inf)
        if case.invalid or not np.isfinite(exact).any():
            return start or (0,)
        part = error if row is None else error[row]
        return (*start, *(int(i) for i in np.unravel_index(int(part.argmax()), part.shape)))

    def _exact(self, case: Case, quantity: Quantity) -> NDArray[np.float64]:
        group = self._call(case).group
        answer = group.linear_exact if isinstance(group, LinearGroup) else group.exact
        exact: NDArray[np.float64] = np.asarray(getattr(answer, quantity).hi)
        return exact

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
        cell = self.cell
        where = f"{cell.implementation.name} in {cell.dtype}, {cell.mode}, on {cell.device}"
        place = "" if row is None or row == REDUCED else f", row {row}"
        yield f"{case.id}{place}: {where}"
        graded = self._call(case).graded(in_run)
        if quantity in graded:
            is_one = graded[quantity].grade.size == 1
            rows = slice(None) if row is None or row == REDUCED or is_one else slice(row, row + 1)
            pairs = zip(graded[quantity].grade[rows], graded[quantity].verdict[rows], strict=True)
            grade, verdict = max(pairs, key=lambda pair: grade_rank(pair[0]))
            if grade is None:
                yield f"The {quantity} is not graded: there is no exact value, or no limit."
            else:
                yield f"The {quantity} is graded {grade}, {Grade(grade).meaning} ({verdict})."
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
