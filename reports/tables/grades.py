"""Grades: the worst of each cell, and the grade matrix in the width of a page."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ...core.formats import in_table_order
from ...core.vocabulary import GRADES, Grade
from ...storage.querying import Measurements, quoted
from .ordering import CELL, KEYS, by_dtype

CASE = " case"  # the end of the name of a column with the cases of a dtype's grades
MEANINGS = {g.value: g.meaning for g in Grade} | {
    Grade.F.value: f"{Grade.F.meaning} where it should be, or the reverse"
}
LEGEND = ", ".join(f"{grade} {meaning}" for grade, meaning in MEANINGS.items())


def grade_matrix(measurements: Measurements | pd.DataFrame) -> pd.DataFrame:
    """Return the worst grade of each implementation in a column for each dtype, and its case in ``<dtype> case``.

    If nothing could be graded, the column has the status instead.
    """
    found = Measurements.of(measurements)
    # Grades are letters in alphabetical order, so the worst is the largest. Among equal grades the largest error
    # decides, and among equal errors the first case of the catalogue.
    worst_first = "(grade, coalesce(max_ulp, '-infinity'), -place)"
    worst = found.sql(
        f"""SELECT {KEYS}, max(grade) AS grade, arg_max("case", {worst_first}) AS "case"
        FROM measurements WHERE grade IS NOT NULL GROUP BY ALL"""
    )
    ungraded = found.sql(
        f"""SELECT {KEYS}, arg_min(status, place) AS grade, arg_min("case", place) AS "case"
        FROM measurements WHERE status <> 'ok' GROUP BY ALL"""
    )
    both = pd.concat([t for t in (worst, ungraded) if len(t)] or [worst]).drop_duplicates(CELL)
    return by_dtype(found.cells, both, {"grade": "", "case": CASE})


def grade_cells(matrix: pd.DataFrame) -> pd.DataFrame:
    """Return the grade matrix with a line for each cell: its worst ``grade``, or status, and the deciding ``case``."""
    who = ["framework", "implementation", "mode", "device"]
    each = [
        matrix[[*who, dtype, f"{dtype}{CASE}"]]
        .set_axis([*who, "grade", "case"], axis=1)
        .assign(dtype=dtype)
        .dropna(subset="grade")
        for dtype in matrix_dtypes(matrix)
    ]
    return pd.concat(each, ignore_index=True) if each else pd.DataFrame(columns=[*who, "grade", "case", "dtype"])


def matrix_dtypes(matrix: pd.DataFrame) -> tuple[str, ...]:
    """Return the dtypes of a grade matrix: each has a column of grades and a column ``<dtype> case``."""
    return in_table_order(c.removesuffix(CASE) for c in matrix.columns if c.endswith(CASE))


class Column(NamedTuple):
    """A dtype, mode and device: a column of the grade matrix in the width of a page."""

    dtype: str
    mode: str
    device: str

    @property
    def condition(self) -> str:
        """SQL that is true of its measurements."""
        return f"dtype = {quoted(self.dtype)} AND mode = {quoted(self.mode)} AND device = {quoted(self.device)}"

    @property
    def label(self) -> str:
        """``float32``, ``float32 compiled``, ``float32 compiled cuda``: eager and cpu are left out."""
        return " ".join([self.dtype, *(w for w, unsaid in ((self.mode, "eager"), (self.device, "cpu")) if w != unsaid)])


def reference_column(cells: pd.DataFrame) -> Column | None:
    """Return the column that stands for a run: float32, eager and the CPU, or the first graded instead.

    ``cells`` are those of `Measurements`. Return None if nothing was graded.
    """
    graded = cells[cells["graded"] > 0].sort_values("first graded")
    if graded.empty:
        return None
    chosen = []
    for column, preferred in (("dtype", "float32"), ("mode", "eager"), ("device", "cpu")):
        measured = list(graded[column])
        chosen.append(preferred if preferred in measured else measured[0])
        graded = graded[graded[column] == chosen[-1]]
    return Column(*chosen)


def worst_grades(matrix: pd.DataFrame, column: Column) -> pd.Series[str]:
    """Return the worst grade of each implementation in one column of the matrix, the best grades first."""
    cells = grade_cells(matrix)
    there = (cells["dtype"] == column.dtype) & (cells["mode"] == column.mode) & (cells["device"] == column.device)
    graded = cells[there & cells["grade"].isin(GRADES)]
    return graded.set_index("implementation")["grade"].sort_values(kind="stable")


def labels(cells: pd.DataFrame) -> pd.Series[str]:
    """Return the label of the `Column` of each line of a table."""
    said = [Column(*line).label for line in cells[["dtype", "mode", "device"]].itertuples(index=False)]
    return pd.Series(said, index=cells.index, dtype=object)


def grades_across(matrix: pd.DataFrame) -> pd.DataFrame:
    """Return the grade matrix with a line for each implementation, and a column for each label.

    A cell has the status if nothing could be graded, and is missing if nothing was measured.
    """
    cells = grade_cells(matrix)
    cells["label"] = labels(cells)
    # By device, then mode, both in the run's order, then dtype.
    place = {c: {v: i for i, v in enumerate(pd.unique(cells[c]))} for c in ("device", "mode")}
    place["dtype"] = {d: i for i, d in enumerate(in_table_order(cells["dtype"]))}
    ordered = cells.sort_values(list(place), key=lambda c: c.map(place[str(c.name)]), kind="stable")
    wide = cells.pivot(index=["framework", "implementation"], columns="label", values="grade")
    wide = wide.reindex(
        index=pd.MultiIndex.from_frame(cells[["framework", "implementation"]].drop_duplicates()),
        columns=list(pd.unique(ordered["label"])),
    )
    wide.columns.name = None
    return wide.reset_index()
