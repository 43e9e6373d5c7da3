"""The programs without LogitLab that pages show, to copy into a bug report."""

from collections import defaultdict
from typing import NamedTuple

import pandas as pd

from ...core.vocabulary import FAILING, grade_rank
from ...storage.schema import ProgramLine
from .._commands import reproduce_command
from ..tables.grades import Column
from ._grids import short


class ShownProgram(NamedTuple):
    """A program with its heading; where the run keeps none, its ``program`` is empty and the command prints it."""

    title: str
    program: str
    command: str


class Programs:
    """The programs of a report: of each case and implementation the one that shows the worst grade.

    Args:
        lines: in the columns of `ProgramLine`, in the order of the plan.
    """

    def __init__(self, lines: pd.DataFrame) -> None:
        self._by_case: dict[str, dict[str, ProgramLine]] = defaultdict(dict)
        for values in lines.itertuples(index=False):
            line = ProgramLine(*values)
            known = self._by_case[line.case].get(line.implementation)
            if known is None or grade_rank(line.grade) > grade_rank(known.grade):
                self._by_case[line.case][line.implementation] = line

    def shown(self, failing: pd.DataFrame, titles: str) -> list[ShownProgram]:
        """Return the program of each case and implementation among failing results.

        Args:
            failing: results with the columns case, implementation, dtype, mode, device, row and grade. Of several with
                the same case and implementation, the command is that of the first.
            titles: the column whose words are the headings.
        """
        first = failing.drop_duplicates(["case", "implementation"])
        lines = first[["case", "implementation", *Column._fields, "row", "grade", titles]].itertuples(index=False)
        return [
            self._shown(str(case), str(implementation), Column(*map(str, column)), int(row), f"{title}: {grade}")
            for case, implementation, *column, row, grade, title in lines
        ]

    def _shown(self, case: str, implementation: str, column: Column, row: int, title: str) -> ShownProgram:
        line = self._by_case.get(case, {}).get(implementation)
        command = short(reproduce_command(case, implementation, column, row))
        return ShownProgram(title, "" if line is None else line.program, command)


def failing_first(worst: pd.DataFrame) -> pd.DataFrame:
    """Return the results that fail, those with the worst grade first."""
    failing = worst[worst["grade"].isin(FAILING)]
    ranks = failing["grade"].map(grade_rank).to_numpy(int)
    return failing.iloc[(-ranks).argsort(kind="stable")]


def has_rows(kept: pd.DataFrame) -> bool:
    """Return whether the run keeps a case with a row, so that `reproduce` can find it."""
    return not kept.empty and int(kept["rows"].iloc[0]) > 0
