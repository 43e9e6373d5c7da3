"""The programs that a run keeps: one for each failing implementation on each case, written while its worker runs."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format
from ..core.literals import short_list
from ..core.rounding import ulp
from ..core.vocabulary import FAILING, Grade, Problem, Quantity, grade_rank
from ..frameworks import Batch, LinearBatch
from ..grading import Graded
from ..storage.schema import ProgramLine
from .plan import Call, Cell, GradedCall, Group, LinearGroup
from .program import ProgramRequest, Written, write
from .worker import Outcome

Array = NDArray[Any]

MAX_REMARKED = 12  # numbers of a result in a remark
MAX_PRINTED = 64  # numbers of a result; of a larger one, the program prints the entry with the largest error


@dataclass(frozen=True, eq=False)
class ProgramCall(Call):
    """The call of a worker that writes a program; ``line`` is what a run keeps of it beside the text."""

    request: ProgramRequest
    line: ProgramLine | None = None

    @property
    def function(self) -> Any:
        return write

    @property
    def kind(self) -> tuple[str, int]:
        return self.request.batch.kind

    def batch(self) -> Batch | LinearBatch:
        return self.request.batch

    def evaluation(self) -> ProgramRequest:
        return self.request

    def kept(self, outcome: Outcome) -> Iterator[ProgramLine]:
        """Yield the line with the program; nothing where there is no program, as for an array that needs a file."""
        if self.line is not None and isinstance(outcome, Written) and outcome.program:
            yield self.line._replace(program=outcome.program)


@dataclass
class FailingPrograms:
    """The calls that write the programs of failing results, D and F.

    In each worker, an implementation has a program for the first result on a case, and one more for each that is worse.
    A worker's calls have a fixed order, so that a run that is repeated has the same programs.
    """

    _worst: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def of(self, done: GradedCall) -> Iterator[ProgramCall]:
        """Yield the calls for the failing cases of a call. A piece of a file has none."""
        group, cell = done.call.group, done.call.cell
        found = {q: g for q, g in done.graded.items() if np.isin(g.grade, FAILING).any()}
        if not found or group.cases[0].first_row is not None:
            return
        start = 0
        for case in group.cases:
            rows, start = range(start, start + case.rows), start + case.rows
            if not rows:
                continue
            quantity, row, rank = _worst(group, found, rows)
            key = (cell.worker_key, cell.implementation.name, case.id)
            if rank > self._worst.get(key, grade_rank(FAILING[0]) - 1):
                self._worst[key] = rank
                yield _program_call(done, quantity, row)


def _worst(group: Group, found: Mapping[str, Graded], rows: range) -> tuple[Quantity, int, int]:
    """Return the quantity and the row of a case with the worst grade, the first of equal ones, and its rank."""
    graded = [
        (grade_rank(found[q].grade[row]), q, row)
        for q in in_order_shown(group.problem, found)
        for row in (range(1) if group.is_one_row(q) else rows)
    ]  # fmt: skip
    rank, quantity, row = max(graded, key=lambda one: one[0])
    return quantity, row, rank


def _program_call(done: GradedCall, quantity: Quantity, row: int) -> ProgramCall:
    group, cell = done.call.group, done.call.cell
    graded, values = done.graded[quantity], dict(done.outcome.values)[quantity]
    given, exact = done.call.evaluation(), exact_values(group, quantity)
    is_one_row = group.is_one_row(quantity)
    if is_one_row or group.reduction != "none":
        batch = given.batch.part(slice(None))
        index = shown_index(values, exact, group.fmt, None if is_one_row else row)
    else:
        # The row alone: its loss, or its gradient, does not depend on the others.
        rows = slice(row, row + 1)
        batch, values, exact = given.batch.part(rows), values[rows], exact[rows]
        index = shown_index(values, exact, group.fmt, None)
    rows_of = group.case_rows(reduced=is_one_row)
    case, number = rows_of.case[row], int(rows_of.row[row])
    remarks = [
        title(case, None if is_one_row else number, cell),
        graded_as(quantity, graded.grade[row], graded.verdict[row]),
    ]
    if batch.rows < given.batch.rows and values[index].size <= MAX_REMARKED:
        remarks.append(f"In the run, beside other rows, the {quantity} was {short_list(np.asarray(values[index]))}.")
    request = ProgramRequest(
        given.framework, given.implementation, batch, given.device, given.mode, quantity.value, index, exact[index],
        tuple(remarks), dict(cell.variables),
    )  # fmt: skip
    line = ProgramLine(
        case, cell.implementation.name, cell.dtype, cell.device, cell.mode, number, quantity.value,
        str(graded.grade[row]),
    )  # fmt: skip
    return ProgramCall(cell, request, line)


def in_order_shown(problem: Problem, found: Collection[str]) -> list[Quantity]:
    """Return the found quantities in the order in which one is chosen: probabilities, which few look at, come last."""
    return sorted((q for q in problem.quantities if q in found), key=Quantity.PROBABILITIES.__eq__)


def exact_values(group: Group, quantity: Quantity) -> NDArray[np.float64]:
    """Return the exact values of a quantity, rounded to float64."""
    answer = group.linear_exact if isinstance(group, LinearGroup) else group.exact
    exact: NDArray[np.float64] = np.asarray(getattr(answer, quantity).hi)
    return exact


def shown_index(
    values: Array | None, exact: NDArray[np.float64], fmt: Format, row: int | None, *, has_errors: bool = True
) -> tuple[int, ...]:
    """Return the part of a result that a program prints: all if it is small, else the entry with the largest error.

    Args:
        values: the computed result; None if there is none.
        exact: the exact values.
        fmt: the dtype in whose ulp errors are counted.
        row: the row; None for all.
        has_errors: whether the exact values can be compared with.
    """
    size = exact.size if row is None else exact[row].size
    start = () if row is None else (row,)
    if size <= MAX_PRINTED or exact.ndim == 0:
        return start
    if values is None or not has_errors or not np.isfinite(exact).any():
        return start or (0,)
    computed = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(computed - exact) / ulp(exact, fmt)
    error[(computed == exact) | (np.isnan(computed) & np.isnan(exact))] = 0
    error = np.nan_to_num(error, nan=np.inf, posinf=np.inf)
    part = error if row is None else error[row]
    return (*start, *(int(i) for i in np.unravel_index(int(part.argmax()), part.shape)))


def title(case: str, row: int | None, cell: Cell) -> str:
    """Return the first line of a program: the case, its row, and the cell."""
    place = "" if row is None or row < 0 else f", row {row}"
    return f"{case}{place}: {cell.implementation.name} in {cell.dtype}, {cell.mode}, on {cell.device}"


def graded_as(quantity: str, grade: str | None, verdict: str) -> str:
    """Return the sentence about a grade."""
    if grade is None:
        return f"The {quantity} is not graded: there is no exact value, or no limit."
    return f"The {quantity} is graded {grade}, {Grade(grade).meaning} ({verdict})."
