"""What each cell gave on each row of each case: the three quantities of a row in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.vocabulary import GRADES
from .ordering import CELL

OF_ROW = ["case", "family", "row", "formula", *CELL]
QUANTITIES = ("loss", "gradient", "probabilities")
_BLAMELESS = ("correct", "undefined")


def results(df: pd.DataFrame) -> pd.DataFrame:
    """One line for each case row and cell.

    Returns:
        `OF_ROW`; ``value`` and ``exact`` of the loss, and whether it was ``given``; for each quantity its grade as
        ``<quantity>`` and its error as ``<quantity> ulp``; the worst of the grades as ``grade``, and of what it is the
        grade of ``status``, ``verdict``, ``stage`` (of the first failure) and ``detail``; where nothing is graded,
        those of a quantity whose verdict tells of a fault, if any. Words are categories. A reduced loss is row -1,
        apart from its gradient's rows.
    """
    # Without a grade an ignored row can still have come out wrong.
    fault = df["grade"].isna() & df["verdict"].notna() & ~df["verdict"].isin(_BLAMELESS)
    ranked = df.assign(rank=_ranks(df["grade"]), fault=fault)
    by_quantity = [ranked[ranked["quantity"] == q].drop_duplicates(["case", "row", *CELL]) for q in QUANTITIES]
    table = pd.concat([t[OF_ROW] for t in by_quantity]).drop_duplicates(["case", "row", *CELL]).reset_index(drop=True)
    places = pd.Index(_numbers(df, table))
    worst, chosen = np.full(len(table), -4, np.int64), np.full(len(table), -1, np.int64)
    for quantity, part in zip(QUANTITIES, by_quantity, strict=True):
        at, rank = places.get_indexer(pd.Index(_numbers(df, part))), part["rank"].to_numpy(np.int64)
        table[quantity] = _letters(_put(len(table), at, rank, -1))
        table[f"{quantity} ulp"] = _put(len(table), at, part["max_ulp"], np.nan)
        if quantity == "loss":
            table["value"], table["exact"] = (_put(len(table), at, part[c], np.nan) for c in ("value", "exact"))
            table["given"] = _put(len(table), at, part["status"] == "ok", False)
        severity = 2 * rank + part["fault"].to_numpy(np.int64)
        worse = severity > worst[at]
        worst[at[worse]], chosen[at[worse]] = severity[worse], part.index.to_numpy()[worse]
    table["grade"] = _letters(worst // 2)
    lines = df.index.get_indexer(pd.Index(chosen))
    for column, name in (
        ("status", "status"),
        ("verdict", "verdict"),
        ("first_failure", "stage"),
        ("detail", "detail"),
    ):
        table[name] = df[column].take(lines).array
    return table


def _put(size: int, at: NDArray[np.int64], values: Any, elsewhere: Any) -> NDArray[Any]:
    """An array of this size with values at these places, and elsewhere something else."""
    whole = np.full(size, elsewhere)
    whole[at] = values
    return whole


def worst_rows(found: pd.DataFrame) -> pd.DataFrame:
    """Of each case and cell the worst line of `results`, in the order they have there."""
    rank = found["grade"].cat.codes
    ulp = found[["loss ulp", "gradient ulp"]].max(axis=1)
    order = np.lexsort((np.arange(len(found)), -ulp.fillna(-1.0).to_numpy(), -rank.to_numpy()))
    return found.iloc[order].drop_duplicates(["case", *CELL]).sort_index()


def by_family(found: pd.DataFrame) -> pd.DataFrame:
    """The share of graded rows that are not F, between 0 and 1, for each cell (a line) and family (a column)."""
    graded = found[found["grade"].notna()]
    right = graded.assign(right=(graded["grade"] != "F").astype(float))
    shares = right.groupby([*CELL, "family"], observed=True, sort=False)["right"].mean().unstack("family")
    families = [f for f in pd.unique(found["family"]) if f in shares.columns]
    shares.columns = shares.columns.astype(object)
    shares = shares[families]
    shares.columns.name = None
    return shares.reset_index()


def _ranks(grades: pd.Series[Any]) -> NDArray[np.int64]:
    """Of each grade its place in `GRADES`, -1 where there is none."""
    places = [GRADES.index(g) if g in GRADES else -1 for g in grades.cat.categories]
    return np.array([*places, -1], np.int64)[grades.cat.codes.to_numpy()]


def _letters(rank: NDArray[np.int64]) -> Any:
    codes: Any = np.where(rank < 0, -1, rank)
    return pd.Categorical.from_codes(codes, categories=pd.Index(GRADES), ordered=True)


def _numbers(df: pd.DataFrame, lines: pd.DataFrame) -> NDArray[np.int64]:
    """A number for each line of a case row and cell, the same in every table made from ``df``."""
    number = lines["row"].to_numpy(np.int64) + 1
    size = int(df["row"].max()) + 2 if len(df) else 1
    for column in ("case", *CELL):
        number = number + size * lines[column].cat.codes.to_numpy(np.int64)
        size *= len(df[column].cat.categories) + 1
    return number
