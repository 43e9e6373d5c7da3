"""The cells of one block measured in the processes of `pool.Pools`, and the table of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..cases import Case
from ..core.formats import FORMATS
from ._rows import Columns, Measured, joined, lines, measured
from .plan import Cell, Group, PlannedCall, groups
from .pool import Pools
from .worker import Outcome

# The groups of a block's cases, in each dtype; and where a part's table is kept.
Grouped = Mapping[str, tuple[Group, ...]]
Keep = Callable[[int, pd.DataFrame], None]


@dataclass(frozen=True, eq=False)
class Work:
    """Cases that are measured together, in some cells, and the number of the part that each cell's table becomes.

    ``quad``: whether the exact answers of rows of files are those of `oracle.bulk`.
    """

    cases: tuple[Case, ...]
    parts: Mapping[Cell, int]
    quad: bool = False


def grouped(work: Work) -> Grouped:
    """The groups of the cases in each dtype of the cells."""
    return {d: groups(work.cases, FORMATS[d], quad=work.quad) for d in {cell.dtype for cell in work.parts}}


def measure(pools: Pools, run_name: str, work: Work, of: Grouped, keep: Keep) -> Iterator[tuple[int, str]]:
    """Measures cells and yields each call's rows and cell; the last call of a cell gives its table to ``keep``."""
    order = {c.id: i for i, c in enumerate(work.cases)}
    taken = {
        cell: [g.held_to(cell.implementation.convention) for g in of[cell.dtype] if g.plain or not cell.plain_only]
        for cell in work.parts
    }
    missing = {cell: sum(len(g.cases) for g in of_cell) for cell, of_cell in taken.items()}
    for cell in (c for c, cases in missing.items() if cases == 0):
        keep(work.parts[cell], pd.DataFrame())
    tables: dict[Cell, list[Columns]] = {cell: [] for cell in work.parts}
    calls: list[PlannedCall | StageTrace] = [PlannedCall(cell, g) for cell, of_cell in taken.items() for g in of_cell]
    for call, outcome in pools.evaluate(calls):
        made = call.measured if isinstance(call, StageTrace) else measured(call, outcome)
        if not isinstance(call, StageTrace) and made.needs_trace:
            pools.add(StageTrace(made))
            continue
        cell, group = made.call.cell, made.call.group
        tables[cell] += lines(made, outcome.stages)
        missing[cell] -= len(group.cases)
        if missing[cell] == 0:
            # Calls end in any order and in any division; the table does not show it.
            whole = joined(run_name, cell, tables.pop(cell))
            keep(work.parts[cell], whole.sort_values("case", key=lambda ids: ids.map(order), kind="stable"))
        yield len(group.logits), cell.label


@dataclass(frozen=True, eq=False)
class StageTrace:
    """A call of a written formula made again, stage by stage, since rows of it went wrong; a `pool.Call`."""

    measured: Measured

    @property
    def call(self) -> PlannedCall:
        return replace(self.measured.call, traced=True)

    @property
    def lane(self) -> str:
        return self.call.lane

    @property
    def variables(self) -> Mapping[str, str]:
        return self.call.variables

    @property
    def framework(self) -> str:
        return self.measured.call.framework

    @property
    def function(self) -> Callable[..., Outcome]:
        return self.call.function

    def arguments(self) -> tuple[Any, ...]:
        return self.call.arguments()

    def divided(self) -> tuple[StageTrace, ...]:
        return ()
