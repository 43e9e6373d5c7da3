"""Shared by the tables: the columns that name a line, and the order of lines."""

from collections.abc import Sequence

import pandas as pd

from ...core.formats import in_table_order
from ...storage.schema import CELL

__all__ = ["CELL", "KEYS", "by_dtype", "in_order", "without_categories"]

KEYS = ", ".join(CELL)  # in SQL


def without_categories(df: pd.DataFrame) -> pd.DataFrame:
    """Return the table with words as strings, since grouping by categories lists every combination."""
    words = [c for c in df.columns if isinstance(df[c].dtype, pd.CategoricalDtype)]
    return df.astype(dict.fromkeys(words, object))


def by_dtype(run: pd.DataFrame, cells: pd.DataFrame, values: dict[str, str], also: Sequence[str] = ()) -> pd.DataFrame:
    """Return one line for each implementation, mode, device and ``also``; one column for each dtype and value."""
    wide = cells.pivot(index=[*(c for c in CELL if c != "dtype"), *also], columns="dtype", values=list(values))
    wide.columns = [f"{c[1]}{values[c[0]]}" for c in wide.columns]
    dtypes = in_table_order(cells["dtype"])
    columns = [f"{d}{suffix}" for d in dtypes for suffix in values.values() if f"{d}{suffix}" in wide.columns]
    return in_order(run, wide[columns].reset_index())


def in_order(run: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines in the order of the run's cells, with dtypes in the order of tables."""
    seen = [c for c in CELL if c in table.columns]
    place = {column: {v: i for i, v in enumerate(pd.unique(run[column]))} for column in seen}
    if "dtype" in place:
        place["dtype"] = {d: i for i, d in enumerate(in_table_order(table["dtype"]))}
    return table.sort_values(seen, key=lambda c: c.map(place[str(c.name)]), kind="stable").reset_index(drop=True)
