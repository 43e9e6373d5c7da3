"""What ``explain`` returns."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

COLUMNS = ("row", "stage", "pass", "formula", "value", "exact", "finite", "max_ulp", "rule", "fix")
ROW_LOSSES = ("row", "target", "value", "exact", "max_ulp", "grade")
REDUCED = -1  # the row of a reduced loss, here as in the measurements table


@dataclass(frozen=True)
class Failure:
    """A stage that broke a rule of the format; ``fix`` is None where an earlier stage is to blame."""

    stage: str
    direction: str
    rule: str
    fix: str | None


@dataclass(frozen=True)
class Assessment:
    """The grade of one quantity, and why it is that one, in a sentence; ``grade`` is None where nothing is graded."""

    quantity: str
    grade: str | None
    verdict: str
    text: str


@dataclass(frozen=True, eq=False)
class Explanation:
    """One row of a case, stage by stage, or a reduced loss.

    Attributes:
        case, implementation, dtype, device, mode: what was measured.
        row: counted from 0; -1 for a reduced loss alone.
        target: the class index, -1 where the targets are probabilities and for a reduced loss alone.
        given: the row's target and the case's reduction, options and layout, in words.
        classes: the classes whose entries are written out in ``stages``; a row of few classes has them all.
        width: the number of classes.
        assessments: the quantities as the measurements table has them, each with its grade and the reason for it. A
            reduced loss is that of row -1. Ungraded ones say what came out.
        remarks: sentences on what no grade tells: an ignored row, a mean over nothing, a quantity that did not come.
        stages: a DataFrame with the columns `COLUMNS`, one line a stage. ``value`` and ``exact`` are shortened to
            text, ``finite`` is about all entries, ``max_ulp`` the largest error in spacings of the dtype (infinite
            where the value is not finite and should be, NaN where there is no exact value), ``rule`` what broke and
            ``fix`` what would have avoided it, both missing for a sound stage. Where the loss is reduced,
            ``row loss`` and ``row gradient`` are the row's own, ``loss`` and ``gradient`` the reduced ones.
        row_losses: for a reduced loss a DataFrame with the columns `ROW_LOSSES`, one line a row; else None.
    """

    case: str
    implementation: str
    dtype: str
    device: str
    mode: str
    row: int
    target: int
    given: str
    classes: tuple[int, ...]
    width: int
    assessments: tuple[Assessment, ...]
    remarks: tuple[str, ...]
    stages: pd.DataFrame
    row_losses: pd.DataFrame | None

    @property
    def grades(self) -> dict[str, str | None]:
        """The grades by quantity, ``loss`` and ``gradient`` among them; None where not graded."""
        return {a.quantity: a.grade for a in self.assessments}

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """The stages that broke a rule, in order."""
        kept = self.stages[self.stages["rule"].notna()]
        lines = zip(kept["stage"], kept["pass"], kept["rule"], kept["fix"], strict=True)
        return tuple(Failure(s, d, r, None if pd.isna(m) else m) for s, d, r, m in lines)

    @property
    def first(self) -> Failure | None:
        """Where it first went wrong; None where loss and gradient are right."""
        return self.failures[0] if self.failures else None
