"""One case in one cell, measured by the calls that a run makes, and its rows stage by stage where that can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ...cases import Case
from ...core.errors import UsageError
from ...core.formats import FORMATS
from ...core.vocabulary import QUANTITIES
from ...execution.plan import Cell, Group, PlannedCall, groups
from ...execution.pool import Pools
from ...execution.worker import Outcome, quantity_stage
from ...frameworks.stages import Stage
from ...grading import Graded
from ...grading.first_failure.judge import seen_as

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a case before any reduction.

    Attributes:
        call: the call that gives them.
        stages: every intermediate value of a written formula that can be traced; else the quantities alone.
        graded: the grades of the quantities among the stages.
    """

    call: PlannedCall
    stages: tuple[Stage, ...]
    graded: Mapping[str, Graded]

    @property
    def formula(self) -> str:
        """The formula whose stages are there; ``builtin`` where only the quantities are."""
        return seen_as(self.call.cell.implementation.formula, self.stages)

    @property
    def losses(self) -> Array | None:
        """The row losses (B,), where they came."""
        return next((s.value for s in self.stages if s.name == "loss"), None)


@dataclass(frozen=True, eq=False)
class Measurement:
    """A case in a cell: the quantities that the measurements table has, their grades, and the rows behind them.

    Attributes:
        call: the case's own, by whose standards the quantities are graded.
        outcome: what came, the case's rows alone.
        graded: the grades that the table has.
        rows: before the reduction; without one, the same quantities.
    """

    call: PlannedCall
    outcome: Outcome
    graded: Mapping[str, Graded]
    rows: Rows

    @property
    def case(self) -> Case:
        """What was measured."""
        return self.call.group.cases[0]

    @property
    def reduced(self) -> bool:
        """Whether the loss is one number for all rows."""
        return self.call.group.reduction != "none"

    @cached_property
    def values(self) -> dict[str, Array]:
        """The quantities that came."""
        return dict(self.outcome.values)


@dataclass
class Measurer:
    """Measures cases as a run over ``companions`` does: plain rows of equal width share a call there.

    The latest call and measurement are kept: all rows of a case, and cases that share a call, cost one call.
    """

    pools: Pools
    companions: Sequence[Case]
    _groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    _alone: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    _made: dict[tuple[Cell, Group, bool], list[tuple[Group, Outcome]]] = field(default_factory=dict)
    _last: tuple[Case, Cell, Measurement] | None = None

    def measure(self, case: Case, cell: Cell) -> Measurement:
        """Measures a case in a cell.

        Raises:
            UsageError: where nothing came, with the framework's message.
        """
        if self._last is None or self._last[0] is not case or self._last[1] != cell:
            self._last = case, cell, self._measured(case, cell)
        return self._last[2]

    def _measured(self, case: Case, cell: Cell) -> Measurement:
        call = PlannedCall(cell, self._by_itself(case, cell, case.reduction))
        outcome = self._outcome(case, call)
        if not outcome.values:
            where = f"{cell.dtype} on {cell.device} ({cell.mode})"
            raise UsageError(f"{cell.implementation.name} gave no answer for {case.id} in {where}: {outcome.message}")
        graded = call.graded(outcome)
        if case.reduction == "none":
            stages = self._stages(case, call, dict(outcome.values))
            return Measurement(call, outcome, graded, Rows(call, stages, graded))
        # The reduced call does not show the row losses: a call of their own does.
        of_rows = PlannedCall(cell, self._by_itself(case, cell, "none"))
        each = of_rows.group.cases[0]
        values = () if of_rows.traceable else self._outcome(each, of_rows).values
        stages = self._stages(each, of_rows, {q: v for q, v in values if q == "loss"})
        given = Outcome(tuple((s.name, s.value) for s in stages if s.name in QUANTITIES))
        return Measurement(call, outcome, graded, Rows(of_rows, stages, of_rows.graded(given)))

    def _stages(self, case: Case, call: PlannedCall, values: Mapping[str, Array]) -> tuple[Stage, ...]:
        """The stages of the rows; the quantities among them are the measured ``values``, where there are any."""
        traced = self._outcome(case, replace(call, traced=True)).stages if call.traceable else ()
        if seen_as(call.cell.implementation.formula, traced) == "builtin":
            # A framework from outside may not say how its formulas are traced.
            values = values or {s.name: s.value for s in traced}
            return tuple(quantity_stage(q, v) for q, v in values.items())
        return tuple(replace(s, value=values.get(s.name, s.value)) for s in traced)

    def _by_itself(self, case: Case, cell: Cell, reduction: str) -> Group:
        """The case alone, whose standards the cell's quantities are held against."""
        key = (case.id, reduction, cell.dtype)
        if key not in self._alone:
            own = case if reduction == case.reduction else replace(case, reduction=reduction)
            self._alone[key] = Group((own,), FORMATS[cell.dtype])
        return self._alone[key].with_convention(cell.implementation.convention)

    def _outcome(self, case: Case, call: PlannedCall) -> Outcome:
        """What a run's call gave, the case's rows of it."""
        fmt = call.group.fmt
        if fmt.name not in self._groups:
            self._groups[fmt.name] = {c.id: g for g in groups(self.companions, fmt) for c in g.cases}
        shared = self._groups[fmt.name].get(case.id)
        group = shared if shared is not None and case in shared.cases else call.group
        key = (call.cell, group, call.traced)
        if key not in self._made:
            kept = {k: made for k, made in self._made.items() if k[:2] == key[:2]}
            calls = self.pools.evaluate([replace(call, group=group)])
            self._made = kept | {key: [(made.group, outcome) for made, outcome in calls]}
        return next(_cut(case, g, outcome) for g, outcome in self._made[key] if case in g.cases)


def _cut(case: Case, group: Group, outcome: Outcome) -> Outcome:
    """Of a call's outcome the rows of one of its cases."""
    if len(group.cases) == 1:
        return outcome
    start = sum(c.rows for c in group.cases[: group.cases.index(case)])
    rows = slice(start, start + case.rows)
    return replace(
        outcome,
        values=tuple((q, v[rows]) for q, v in outcome.values),
        stages=tuple(replace(s, value=s.value[rows]) for s in outcome.stages),
    )
