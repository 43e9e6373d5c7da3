"""Measure the cells of one block in worker processes, and build the table of each cell."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ..cases import Case
from ..core.formats import get_format
from ..core.vocabulary import OracleKind
from ..storage.schema import ProgramLine
from ._rows import QuantityRows, cell_table, quantity_rows
from .plan import Cell, GradedCall, Group, PlannedCall, groups, ordered
from .pool import Pools
from .programs import FailingPrograms, ProgramCall

# The groups of a block's cases in each dtype; and the function that stores the table and the programs of a part.
Grouped = Mapping[str, tuple[Group, ...]]
Keep = Callable[[int, pd.DataFrame, Sequence[ProgramLine]], None]


@dataclass(frozen=True, eq=False)
class Block:
    """Cases that are measured together, and for each cell the number of the part that holds its table.

    ``is_last`` means that no block follows, so each worker ends after its last call.
    """

    cases: tuple[Case, ...]
    parts: Mapping[Cell, int]
    oracle: OracleKind = OracleKind.BALLS
    is_last: bool = False

    def grouped(self) -> Grouped:
        """Return the groups of the cases, by dtype."""
        return {d: groups(self.cases, get_format(d), self.oracle) for d in {cell.dtype for cell in self.parts}}


def measure(pools: Pools, run_name: str, block: Block, grouped: Grouped, keep: Keep) -> Iterator[tuple[int, str]]:
    """Measure the cells; yield the rows and the cell of each call.

    After the last call of a cell, ``keep`` receives the cell's table, and programs that show its failing results.
    """
    order = {c.id: i for i, c in enumerate(block.cases)}
    calls = ordered(
        PlannedCall(cell, group.with_convention(cell.implementation.convention))
        for dtype, of_dtype in grouped.items()
        for group in of_dtype
        for cell in block.parts
        if cell.dtype == dtype and cell.takes(group)
    )
    # After this only the calls refer to the groups, so exact answers are freed once all workers have used them.
    del grouped
    missing = Counter[Cell]()
    for planned in calls:
        missing[planned.cell] += len(planned.group.cases)
    for cell in (c for c in block.parts if not missing[c]):
        keep(block.parts[cell], pd.DataFrame(), ())
    tables: dict[Cell, list[QuantityRows]] = {cell: [] for cell in block.parts}
    programs: dict[Cell, list[ProgramLine]] = {cell: [] for cell in block.parts}
    failing: dict[PlannedCall, GradedCall] = {}  # the key is the call that traces the stages
    chosen = FailingPrograms()
    for call, outcome in pools.evaluate(_consumed(calls), is_last=block.is_last):
        cell, rows = call.cell, 0
        if isinstance(call, ProgramCall):
            programs[cell] += call.kept(outcome)
            missing[cell] -= 1
        else:
            graded = failing.pop(call) if call.traced else GradedCall(call, outcome, call.graded(outcome))
            if not call.traced and graded.needs_trace:
                trace = replace(call, traced=True)
                failing[trace] = graded
                pools.add(trace)
                continue
            for of_program in chosen.of(graded):
                missing[cell] += 1
                pools.add(of_program)
            tables[cell] += quantity_rows(graded, outcome.stages)
            missing[cell] -= len(call.group.cases)
            rows = call.group.rows
        if missing[cell] == 0:
            # Calls end in any order and division, but the table has a fixed order.
            table = cell_table(run_name, cell, tables.pop(cell))
            table = table.sort_values("case", key=lambda ids: ids.map(order).astype(int), kind="stable")
            keep(block.parts[cell], table, sorted(programs.pop(cell), key=lambda line: order[line.case]))
        yield rows, cell.label


def _consumed(calls: list[PlannedCall]) -> Iterator[PlannedCall | ProgramCall]:
    """Yield the calls and remove each from the list."""
    calls.reverse()
    while calls:
        yield calls.pop()
