"""The trials of a run: every cell at every width, in the worker processes of its framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...core.bitwise import Compared, Property
from ...core.formats import FORMATS
from ...core.vocabulary import Problem, Quantity, Status
from ...frameworks import Batch
from ...storage.schema import BitwiseLine
from ...storage.store import Run
from ..plan import Call, Cell
from ..pool import Pools
from ..variants import MARK, VARIANTS
from ..worker import Evaluation, Outcome
from ._rows import WIDTHS, Plan
from ._trial import Fault, Trial, compare_processes
from ._worker import first_in_worker, try_in_worker

ONE_THREAD = "one-thread"


@dataclass(frozen=True, eq=False)
class TrialCall(Call):
    """The trial of a cell at one width; with ``first_only`` only its first results, to compare them with a process."""

    classes: int
    first_only: bool = False

    @property
    def function(self) -> Callable[[Evaluation], Outcome]:
        return first_in_worker if self.first_only else try_in_worker

    @property
    def kind(self) -> tuple[str, int]:
        return self.cell.dtype, self.classes

    def batch(self) -> Batch:
        """Return no rows of the cell's dtype and width: the worker makes the rows, which are many."""
        return Batch(np.zeros((0, self.classes), FORMATS[self.cell.dtype].dtype), np.zeros(0, np.int64))


def compare_bits(pools: Pools, cells: Sequence[Cell], store: Run) -> Iterator[tuple[int, int, str]]:
    """Make the trials of the cells and write each cell's lines into the run.

    Yield the trials done, their number, and the cell.

    Cells whose lines the run has already are not tried again.
    """
    waiting: dict[int, list[TrialCall]] = {}
    done = total = 0
    for number, cell in enumerate(cells):
        calls = _calls(cell)
        total += len(calls)
        if store.has_bitwise(number):
            done += len(calls)
        elif calls:
            waiting[number] = calls
    numbers = {id(call): number for number, calls in waiting.items() for call in calls}
    found: dict[int, dict[tuple[int, bool], Outcome]] = {number: {} for number in waiting}
    for call, outcome in pools.evaluate([call for calls in waiting.values() for call in calls], is_last=True):
        number = numbers[id(call)]
        found[number][call.classes, call.first_only] = outcome
        if len(found[number]) == len(waiting[number]):
            store.write_bitwise(number, list(_lines(cells[number], found.pop(number))))
        done += 1
        yield done, total, call.cell.label


def _calls(cell: Cell) -> list[TrialCall]:
    """Return the trials of a cell, and of its framework with one thread if that needs another process."""
    if cell.implementation.problem is not Problem.LOGITS:
        return []
    calls = [TrialCall(cell, classes) for classes in WIDTHS]
    if MARK not in cell.mode and cell.framework in VARIANTS[ONE_THREAD].variables:
        one = replace(cell, mode=f"{cell.mode}{MARK}{ONE_THREAD}")
        calls += [TrialCall(one, classes, first_only=True) for classes in WIDTHS]
    return calls


def _lines(cell: Cell, found: dict[tuple[int, bool], Outcome]) -> Iterator[BitwiseLine]:
    """Yield the lines of a cell's table."""
    for classes in WIDTHS:
        trial = _trial(found[classes, False])
        compared = list(trial.compared)
        faults = list(trial.faults)
        if not faults and (classes, True) in found and not any(c.kind is Property.THREADS for c in compared):
            other = _trial(found[classes, True])
            faults += other.faults
            if trial.results and other.results:
                compared += compare_processes(trial, other, Plan(), "with one thread in its process")
        for each in compared:
            yield _line(cell, classes, each)
        for fault in faults:
            lost = Compared(fault.kind or Property.REPEATED, Quantity.LOSS.value, where=fault.where)
            yield _line(cell, classes, lost, fault.status, fault.detail)


def _trial(outcome: Outcome) -> Trial:
    if isinstance(outcome.trial, Trial):
        return outcome.trial
    return Trial(faults=(Fault(None, "the whole trial", outcome.status, outcome.message),))


def _line(
    cell: Cell, classes: int, found: Compared, status: Status = Status.OK, detail: str | None = None
) -> BitwiseLine:
    info = cell.implementation
    return BitwiseLine(
        cell.framework, info.name, cell.dtype, cell.device, cell.mode, info.version or "", classes,
        found.kind.value, found.quantity, found.rows, found.different, found.max_ulp, found.row, found.where,
        status.value, detail or "",
    )  # fmt: skip
