"""The measurement of a case in a cell by the calls of a run, and the stages of its rows where they are available."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ..cases import Case
from ..core.errors import UsageError
from ..core.formats import get_format
from ..core.vocabulary import QUANTITIES, Quantity
from ..execution.plan import Cell, Group, PlannedCall, groups, single_group
from ..execution.pool import Pools
from ..execution.worker import Outcome
from ..frameworks.stages import Stage
from ..grading import Graded
from ..grading.first_failure import TracedBatch, shows_inside

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measured case in a cell: the quantities of the measurements table, their grades, and their rows.

    Attributes:
        cell: the cell.
        group: the case alone, with the standards that grade the quantities.
        outcome: the outcome of the call for the case's rows.
        graded: the grades of the measurements table.
        rows: the rows before the reduction; without a reduction, the same quantities.
    """

    cell: Cell
    group: Group
    outcome: Outcome
    graded: Mapping[str, Graded]
    rows: TracedBatch

    @property
    def case(self) -> Case:
        return self.group.cases[0]

    @property
    def is_reduced(self) -> bool:
        return self.group.reduction != "none"

    @cached_property
    def values(self) -> dict[str, Array]:
        return dict(self.outcome.values)

    @property
    def row_losses(self) -> Array | None:
        """The losses (B,) before any reduction, if the call returned them."""
        return next((s.value for s in self.rows.stages if s.name == Quantity.LOSS), None)


@dataclass
class Measurer:
    """Measures cases as a run over ``companions`` does, in which plain rows of equal width share a call.

    The latest call and measurement are kept, so all rows of a case, and cases that share a call, need one call.
    """

    pools: Pools
    companions: Sequence[Case]
    _groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    _alone: dict[tuple[Case, str, str], Group] = field(default_factory=dict)
    _outcomes: dict[tuple[Cell, Group, bool], list[tuple[Group, Outcome]]] = field(default_factory=dict)
    _last: tuple[Case, Cell, Measurement] | None = None

    def measure(self, case: Case, cell: Cell) -> Measurement:
        """Measure a case in a cell.

        Raises:
            UsageError: if the call returned no result, with the framework's message.
        """
        if self._last is None or self._last[0] is not case or self._last[1] != cell:
            self._last = case, cell, self._measure(case, cell)
        return self._last[2]

    def _measure(self, case: Case, cell: Cell) -> Measurement:
        call = PlannedCall(cell, self._by_itself(case, cell, case.reduction))
        outcome = self.outcome(case, call)
        if not outcome.values:
            where = f"{cell.dtype} on {cell.device} ({cell.mode})"
            raise UsageError(
                f"{cell.implementation.name} returned no result for {case.id} in {where}: {outcome.message}; "
                "choose another case, dtype or mode"
            )
        graded = call.graded(outcome)
        if case.reduction == "none":
            stages = self._stages(case, call, dict(outcome.values))
            return Measurement(cell, call.group, outcome, graded, _traced(call, stages, graded))
        # The reduced call does not return the row losses, so another call does.
        of_rows = PlannedCall(cell, self._by_itself(case, cell, "none"))
        each = of_rows.group.cases[0]
        values = () if of_rows.traceable else self.outcome(each, of_rows).values
        stages = self._stages(each, of_rows, {q: v for q, v in values if q == Quantity.LOSS})
        shown = Outcome(tuple((s.name, s.value) for s in stages if s.name in QUANTITIES))
        return Measurement(cell, call.group, outcome, graded, _traced(of_rows, stages, of_rows.graded(shown)))

    def _stages(self, case: Case, call: PlannedCall, values: Mapping[str, Array]) -> tuple[Stage, ...]:
        """Return the stages of the rows, with the measured ``values`` for the quantities among them."""
        traced = self.outcome(case, replace(call, traced=True)).stages if call.traceable else ()
        if not shows_inside(traced):
            values = values or {s.name: s.value for s in traced}
            return tuple(Stage.of_quantity(q, v) for q, v in values.items())
        return tuple(replace(s, value=values.get(s.name, s.value)) for s in traced)

    def _by_itself(self, case: Case, cell: Cell, reduction: str) -> Group:
        """Return the case alone, with the standards that grade the cell's quantities."""
        # By the object, not its name: a case of a sweep is made again for each request.
        key = (case, reduction, cell.dtype)
        if key not in self._alone:
            own = case if reduction == case.reduction else replace(case, reduction=reduction)
            self._alone[key] = single_group(own, get_format(cell.dtype))
        return self._alone[key].with_convention(cell.implementation.convention)

    def outcome(self, case: Case, call: PlannedCall) -> Outcome:
        """Return the case's rows of the outcome of a run's call, which may be a fault."""
        fmt = call.group.fmt
        if fmt.name not in self._groups:
            self._groups[fmt.name] = {c.id: g for g in groups(self.companions, fmt) for c in g.cases}
        shared = self._groups[fmt.name].get(case.id)
        group = shared if shared is not None and case in shared.cases else call.group
        key = (call.cell, group, call.traced)
        if key not in self._outcomes:
            kept = {k: outcomes for k, outcomes in self._outcomes.items() if k[:2] == key[:2]}
            calls = self.pools.evaluate([replace(call, group=group)])
            self._outcomes = kept | {key: [(done.group, outcome) for done, outcome in calls]}
        return next(_cut(case, g, outcome) for g, outcome in self._outcomes[key] if case in g.cases)


def _traced(call: PlannedCall, stages: Sequence[Stage], graded: Mapping[str, Graded]) -> TracedBatch:
    group = call.group
    return TracedBatch(call.cell.implementation.trace, stages, group.batch(), group.fmt, group.exact, graded)


def _cut(case: Case, group: Group, outcome: Outcome) -> Outcome:
    """Return the rows of one case in a call's outcome."""
    if len(group.cases) == 1:
        return outcome
    start = sum(c.rows for c in group.cases[: group.cases.index(case)])
    rows = slice(start, start + case.rows)
    return replace(
        outcome,
        values=tuple((q, v[rows]) for q, v in outcome.values),
        stages=tuple(replace(s, value=s.value[rows]) for s in outcome.stages),
    )
