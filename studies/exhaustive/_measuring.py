"""Measure all rows of a format in worker processes, each cell by one call as a run makes it."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.vocabulary import GRADES, Status
from ...execution.plan import Cell, Group, PlannedCall
from ...execution.pool import Pools
from ...execution.worker import Outcome
from ...grading import Graded, Standard, grade_by
from ._group import PairGroup
from ._rows import Rows

Array = NDArray[Any]
Part = tuple[Group, Outcome]

# The index in GRADES by a letter's code. Comparing 100,000 letters as Python's strings would take longer than grading.
_RANKS = np.zeros(128, np.int64)
_RANKS[[ord(grade) for grade in GRADES]] = np.arange(len(GRADES))


@dataclass(frozen=True, eq=False)
class Values:
    """The computed values of one quantity, and their grades.

    Attributes:
        index: (M,), the numbers of the measured rows, rising.
        computed: (M, E), as the framework returned them.
        standard: the exact values and bounds of the measured rows.
        graded: the grades of the measured rows.
    """

    index: NDArray[np.intp]
    computed: Array
    standard: Standard
    graded: Graded

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """(M,), the index in GRADES of each row's grade; every row has one."""
        letters = np.frombuffer("".join(self.graded.grade).encode(), np.uint8)
        return _RANKS[letters]

    @property
    def bits(self) -> str:
        """A digest that is equal for equal rows and values, bit for bit."""
        data = np.ascontiguousarray(self.computed)
        name = f"{data.dtype.name}{len(self.index)}{self.index[:1]}".encode()
        return hashlib.sha256(name + data.tobytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Measured:
    """One quantity of a cell. ``values`` is None if no row was measured; ``status`` is ``ok`` if all rows were."""

    cell: Cell
    quantity: str
    status: Status
    detail: str
    values: Values | None


def measure(pools: Pools, rows: Rows, cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[Measured]]]:
    """Yield each cell with its quantities when its last call has ended."""
    group = PairGroup.of_rows(rows)
    calls = [PlannedCall(cell, group) for cell in cells if cell.takes(group)]
    missing = {call.cell: rows.number for call in calls}
    parts: dict[Cell, list[Part]] = {call.cell: [] for call in calls}
    for call, outcome in pools.evaluate(calls):
        cell = call.cell
        parts[cell].append((call.group, outcome))
        missing[cell] -= call.group.rows
        if missing[cell] == 0:
            found = parts.pop(cell)
            yield cell, [_measured(cell, q, group, found) for q in group.quantities(cell.implementation)]


def _measured(cell: Cell, quantity: str, group: Group, parts: Sequence[Part]) -> Measured:
    returned = [(part, dict(outcome.values)) for part, outcome in parts]
    there = [(_numbers(part), values[quantity]) for part, values in returned if quantity in values]
    faults = [o for (_, values), (_, o) in zip(returned, parts, strict=True) if quantity not in values]
    status = faults[0].status if faults else Status.OK
    detail = "; ".join(dict.fromkeys(outcome.message for outcome in faults or (o for _, o in parts)))
    if not there:
        return Measured(cell, quantity, status, detail, None)
    index = np.concatenate([numbers for numbers, _ in there])
    order = np.argsort(index)
    computed = np.concatenate([array for _, array in there])[order]
    standard = group.standard(quantity, cell.implementation)
    standard = standard if len(index) == group.rows else standard.take(index[order])
    values = Values(index[order], computed, standard, grade_by(standard, computed))
    return Measured(cell, quantity, status, detail, values)


def _numbers(group: Group) -> NDArray[np.intp]:
    """Return the numbers of a group's rows among all rows."""
    return np.concatenate([np.arange(c.rows) + (c.first_row or 0) for c in group.cases])
