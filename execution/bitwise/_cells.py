"""The trials of a run: every cell at every width, in the worker processes of its framework."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...core.bitwise import Compared, Property
from ...core.formats import get_format
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

ONE_THREAD = "one-thread"  # the variant


@dataclass(frozen=True, eq=False)
class TrialCall(Call):
    """The trial at one width of the cell with this number in the plan.

    ``first_only`` is for the same cell in a process with another number of threads: it returns the first results only.
    """

    number: int
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
        fmt = get_format(self.cell.dtype)
        hosted = fmt if fmt.is_hosted else None
        return Batch(np.zeros((0, self.classes), fmt.dtype), np.zeros(0, np.int64), format=hosted)

    def with_one_thread(self, trial: Trial) -> TrialCall | None:
        """Return the call in a process with one thread; None if the trial has compared threads, or cannot."""
        known = VARIANTS[ONE_THREAD].variables
        if self.first_only or MARK in self.cell.mode or self.cell.framework not in known or not trial.results:
            return None
        if any(found.kind is Property.THREADS for found in trial.compared):
            return None
        return replace(self, cell=replace(self.cell, mode=f"{self.cell.mode}{MARK}{ONE_THREAD}"), first_only=True)


def compare_bits(pools: Pools, cells: Sequence[Cell], store: Run) -> Iterator[tuple[int, int, str]]:
    """Make the trials of the cells and write each cell's lines into the run.

    Yield the trials done, their number, and the cell. Cells whose lines the run has already are not tried again.
    """
    calls = [
        TrialCall(cell, number, classes)
        for number, cell in enumerate(cells)
        if cell.implementation.problem is Problem.LOGITS and not store.has_bitwise(number)
        for classes in WIDTHS
    ]
    missing = Counter(call.number for call in calls)
    found: dict[int, dict[tuple[int, bool], Trial]] = {number: {} for number in missing}
    total = len(calls)
    for done, (call, outcome) in enumerate(pools.evaluate(calls, is_last=True), 1):
        trial = found[call.number][call.classes, call.first_only] = _trial(outcome)
        further = call.with_one_thread(trial)
        if further is not None:
            pools.add(further)
            total += 1
            missing[call.number] += 1
        missing[call.number] -= 1
        if not missing[call.number]:
            store.write_bitwise(call.number, list(_lines(cells[call.number], found.pop(call.number))))
        yield done, total, call.cell.label


def _lines(cell: Cell, found: dict[tuple[int, bool], Trial]) -> Iterator[BitwiseLine]:
    """Yield the lines of a cell's table."""
    for classes in WIDTHS:
        trial = found[classes, False]
        compared, faults = list(trial.compared), list(trial.faults)
        if (classes, True) in found:
            other = found[classes, True]
            faults += other.faults
            if other.results:
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
