"""One case in one cell, as it was measured, and its rows stage by stage where that can be seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ...cases import Case
from ...core.vocabulary import Quantity
from ...execution.plan import Cell, Group
from ...execution.worker import Outcome
from ...grading import Graded
from ...grading.first_failure import TracedBatch

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Measurement:
    """A case in a cell: the quantities that the measurements table has, their grades, and the rows behind them.

    Attributes:
        cell: where it was measured.
        group: the case alone, by whose standards the quantities are graded.
        outcome: what came, the case's rows alone.
        graded: the grades that the table has.
        rows: before the reduction; without one, the same quantities.
    """

    cell: Cell
    group: Group
    outcome: Outcome
    graded: Mapping[str, Graded]
    rows: TracedBatch

    @property
    def case(self) -> Case:
        """What was measured."""
        return self.group.cases[0]

    @property
    def is_reduced(self) -> bool:
        """Whether the loss is one number for all rows."""
        return self.group.reduction != "none"

    @cached_property
    def values(self) -> dict[str, Array]:
        """The quantities that came."""
        return dict(self.outcome.values)

    @property
    def row_losses(self) -> Array | None:
        """The losses (B,) before any reduction, where they came."""
        return next((s.value for s in self.rows.stages if s.name == Quantity.LOSS), None)
