"""The result of ``explain``."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from ...core.vocabulary import Problem

COLUMNS = ("row", "stage", "pass", "formula", "value", "exact", "finite", "max_ulp", "rule", "fix")
ROW_LOSSES = ("row", "target", "value", "exact", "max_ulp", "grade")


@dataclass(frozen=True)
class Failure:
    """A stage that broke a rule of the format; ``fix`` is None if an earlier stage caused it."""

    stage: str
    direction: str
    rule: str
    fix: str | None


@dataclass(frozen=True)
class Assessment:
    """The grade of one quantity, and its reason in a sentence; ``grade`` is None if the quantity is not graded."""

    quantity: str
    grade: str | None
    verdict: str
    text: str


@dataclass(frozen=True, eq=False)
class Explanation:
    """One row of a case, stage by stage, or a reduced loss.

    Attributes:
        case, problem: the case, and its problem: ``logits`` or ``linear``.
        implementation, dtype, device, mode: the cell.
        row: the row, from 0; -1 for a reduced loss alone, or for a whole batch of the linear problem.
        target: the class index; -1 for target probabilities, and for a reduced loss alone.
        given: the row's target and the case's reduction, options and layout, in words.
        classes: the classes whose entries are shown in ``stages``: all of them if they are few.
        width: the number of classes.
        assessments: the quantities of the measurements table, each with its grade and the reason. A reduced loss is
            that of row -1. The text of an ungraded quantity gives the result.
        remarks: sentences about ungraded facts: an ignored row, a mean over nothing, a missing quantity.
        stages: a DataFrame with the columns `COLUMNS`, one line for each stage. ``value`` and ``exact`` are short
            texts. ``finite`` is True if all entries are finite. ``max_ulp`` is the largest error in spacings of the
            dtype. It is infinite if the value should be finite and is not, and NaN without an exact value. ``rule`` is
            the broken rule and ``fix`` a way to avoid the fault; both are missing for a correct stage. With a
            reduction, ``row loss`` and ``row gradient`` are the row's own, ``loss`` and ``gradient`` the reduced ones.
            For the linear problem the lines are the logits and the quantities, each with one entry. It is the logit
            that a rounding to the dtype changes most, or the entry that decides the grade.
        row_losses: for a reduced loss, a DataFrame with the columns `ROW_LOSSES`, one line for each row; else None.
    """

    case: str
    problem: Problem
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
        """The grades by quantity, such as ``loss`` and ``gradient``; None if not graded."""
        return {a.quantity: a.grade for a in self.assessments}

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """The stages that broke a rule, in order."""
        kept = self.stages[self.stages["rule"].notna()]
        lines = zip(kept["stage"], kept["pass"], kept["rule"], kept["fix"], strict=True)
        return tuple(Failure(s, d, r, None if pd.isna(m) else m) for s, d, r, m in lines)

    @property
    def first(self) -> Failure | None:
        """The first failure; None if loss and gradient are correct."""
        return self.failures[0] if self.failures else None
