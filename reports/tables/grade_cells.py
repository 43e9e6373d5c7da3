"""The grade matrix in the width of a page: a column for each cell's dtype, mode and device, like lines as one."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...core.formats import DTYPES
from ...core.vocabulary import GRADES

GRADED = "grade"
CASE = "case"


def labels(cells: pd.DataFrame) -> pd.Series[str]:
    """``float32``, ``float32 compiled``, ``float32 compiled cuda``: what is eager or on the CPU goes without saying."""
    said = [
        " ".join([dtype, *(word for word, unsaid in ((mode, "eager"), (device, "cpu")) if word != unsaid)])
        for dtype, mode, device in cells[["dtype", "mode", "device"]].itertuples(index=False)
    ]
    return pd.Series(said, index=cells.index, dtype=object)


def grades_across(matrix: pd.DataFrame) -> pd.DataFrame:
    """The grade matrix with a line for each implementation: ``framework``, ``implementation``, a column for each label.

    A column holds the status where nothing could be graded, and is missing where nothing was measured.
    """
    cells = grade_cells(matrix)
    cells["label"] = labels(cells)
    wide = cells.pivot(index=["framework", "implementation"], columns="label", values=GRADED)
    wide = wide.reindex(
        index=pd.MultiIndex.from_frame(cells[["framework", "implementation"]].drop_duplicates()),
        columns=list(pd.unique(_in_columns_order(cells)["label"])),
    )
    wide.columns.name = None
    return wide.reset_index()


def grade_cells(matrix: pd.DataFrame) -> pd.DataFrame:
    """The grade matrix with a line for each cell: its worst ``grade``, or status, and the ``case`` that caused it."""
    who = ["framework", "implementation", "mode", "device"]
    each = [
        matrix[[*who, dtype, f"{dtype} case"]]
        .set_axis([*who, GRADED, CASE], axis=1)
        .assign(dtype=dtype)
        .dropna(subset=GRADED)
        for dtype in DTYPES
        if dtype in matrix
    ]
    return pd.concat(each, ignore_index=True) if each else pd.DataFrame(columns=[*who, GRADED, CASE, "dtype"])


def _in_columns_order(cells: pd.DataFrame) -> pd.DataFrame:
    """By device, then mode, as the run has them, then dtype."""
    place = {c: {v: i for i, v in enumerate(pd.unique(cells[c]))} for c in ("device", "mode")}
    place["dtype"] = {d: i for i, d in enumerate(DTYPES)}
    return cells.sort_values(["device", "mode", "dtype"], key=lambda c: c.map(place[str(c.name)]), kind="stable")


def alike(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Lines that say the same in ``columns`` as one, with the names of all in ``implementations``, a list."""
    same = table[list(columns)].astype(object).where(table[list(columns)].notna(), None)
    key = pd.Series(list(same.itertuples(index=False, name=None)), index=table.index)
    names = table.groupby(key.map(repr), sort=False)["implementation"].agg(list)
    first = table.loc[~key.map(repr).duplicated(), list(columns)].reset_index(drop=True)
    first.insert(0, "implementations", names.to_list())
    return first


def severity(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series[float]:
    """How bad a line is, for sorting the worst to the top: a grade counts more than all that are better."""
    weight = {g: float(8**i) for i, g in enumerate(GRADES)}
    bad: pd.Series[float] = table[list(columns)].apply(lambda c: c.map(weight).fillna(0.0)).astype(float).sum(axis=1)
    return bad
