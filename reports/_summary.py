"""The summary of a run for all formats: the safe losses, the faults of the others, and the grades of other dtypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from ..core.counting import count
from ..core.vocabulary import GRADES, Grade, Reach, grade_rank
from ..storage.querying import Measurements
from ._commands import explain_command
from ._wording import SAFE, count_cases, outcome
from .tables.grades import Column, grade_cells, grade_matrix, labels, reference_column
from .tables.ignored import lets_nan_through
from .tables.safety import RESULT, Result, safety

UNGRADED = "not graded"
_SHARED = ["grade", "case", "quantity", "verdict"]


class Group(NamedTuple):
    """Losses whose grade the same case decides in the same way; ``result`` is the first loss's, None for grade A."""

    grade: Grade
    result: Result | None
    implementations: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The deciding case and its result: ``seed/article: the loss is inf where 2000 is exact``."""
        return "" if self.result is None else f"{self.result.case}: {outcome(self.result)}"


class Summary(NamedTuple):
    """The first things to know of a run.

    Attributes:
        column: the dtype, mode and device that stand for the run.
        cases: how many cases were measured there.
        graded: how many of these have a grade.
        groups: the losses by grade and deciding case; the worst grade first, then the largest group.
        counts: for each dtype, mode and device (``label``) how many losses have each grade, and `UNGRADED`.
        ignored: the losses that let NaN from an ignored row through, by how far it reaches.
        scope: a warning if only some cases of the catalogue were measured, or some losses graded on few of them.
    """

    column: Column
    cases: int
    graded: int
    groups: Sequence[Group]
    counts: pd.DataFrame
    ignored: Mapping[Reach, tuple[str, ...]]
    scope: str = ""

    @property
    def losses(self) -> int:
        return sum(len(group.implementations) for group in self.groups)

    @property
    def headline(self) -> str:
        """``16 of 54 losses are safe in float32``."""
        safe = sum(map(len, self.safe.values()))
        are = "is" if self.losses == 1 else "are"
        return f"{safe} of {count(self.losses, 'loss')} {are} safe in {self.column.dtype}"

    @property
    def measured(self) -> str:
        """``28 cases (27 graded)``."""
        return count_cases(self.cases, self.graded)

    @property
    def safe(self) -> dict[Grade, tuple[str, ...]]:
        """The losses of grade A and of grade B; a grade without a loss is left out."""
        names = {g: tuple(n for group in self.groups if group.grade == g for n in group.implementations) for g in SAFE}
        return {grade: losses for grade, losses in names.items() if losses}

    @property
    def unsafe(self) -> list[Group]:
        """The groups of grade C, D and F, F first."""
        return [group for group in self.groups if group.grade not in SAFE]

    @property
    def explain(self) -> str | None:
        """The command that shows where the worst group's last loss goes wrong; None if all losses are accurate.

        Of the losses that one case breaks, the last is often PyTorch's, which is imported fastest.
        """
        for group in self.groups:
            if group.result is not None:
                return explain_command(group.result.case, group.implementations[-1], self.column)
        return None


def summarize(found: Measurements, scope: str = "") -> Summary | None:
    """The summary of measurements, with a warning about its ``scope``; None where nothing was graded."""
    column = reference_column(found.cells)
    if column is None:
        return None
    measured, graded = case_counts(found, column)
    groups = sorted(
        grouped(safety(found, column)), key=lambda group: (-grade_rank(group.grade), -len(group.implementations))
    )
    counts = grade_counts(grade_matrix(found))
    scope = " ".join(filter(None, [scope, rarely_graded(found, column)]))
    return Summary(column, measured, graded, groups, counts, lets_nan_through(found), scope)


def case_counts(found: Measurements, column: Column) -> tuple[int, int]:
    """The number of cases of a dtype, mode and device, and of those with a grade."""
    cases = found.sql(
        f"""SELECT count(DISTINCT "case") AS measured,
            count(DISTINCT "case") FILTER (status = 'ok' AND grade IS NOT NULL) AS graded
        FROM measurements WHERE {column.condition}"""
    )
    return int(cases["measured"].iloc[0]), int(cases["graded"].iloc[0])


def rarely_graded(found: Measurements, column: Column) -> str:
    """Return a warning about losses with a grade on less than half of their cases; "" if there are none."""
    few = found.sql(
        f"""SELECT implementation FROM (
            SELECT implementation, count(DISTINCT "case") AS measured,
                count(DISTINCT "case") FILTER (status = 'ok' AND grade IS NOT NULL) AS graded
            FROM measurements WHERE {column.condition} GROUP BY implementation)
        WHERE graded > 0 AND 2 * graded < measured ORDER BY graded, implementation"""
    )["implementation"].astype(str)
    if few.empty:
        return ""
    losses = few.iloc[0] if len(few) == 1 else f"{count(len(few), 'loss')}, such as {few.iloc[0]},"
    have = "has" if len(few) == 1 else "have"
    return f"{losses} {have} a grade on less than half of these cases; the other calls raised, or are unsupported."


def grouped(safe: pd.DataFrame) -> list[Group]:
    """Return the lines of `safety` that share a grade, case, quantity and verdict, in the order of the table."""
    return [
        Group(
            Grade(str(grade)),
            None if grade == Grade.A else Result(*same[RESULT].iloc[0]),
            tuple(map(str, same["implementation"])),
        )
        for (grade, *_), same in safe.groupby(_SHARED, sort=False, dropna=False)
    ]


def grade_counts(matrix: pd.DataFrame) -> pd.DataFrame:
    """How many implementations have each worst grade, a line for each dtype, mode and device of the grade matrix."""
    cells = grade_cells(matrix).assign(label=labels)
    grades = cells["grade"].where(cells["grade"].isin(GRADES), UNGRADED)
    order = list(dict.fromkeys(cells.sort_values(["mode", "device"], key=_first_seen)["label"]))
    table = pd.crosstab(cells["label"], grades).reindex(index=order, columns=[*GRADES, UNGRADED], fill_value=0)
    table.columns.name = None
    return table.rename_axis("label").reset_index()


def _first_seen(column: pd.Series[str]) -> pd.Series[int]:
    return pd.Series(pd.factorize(column)[0], index=column.index)
