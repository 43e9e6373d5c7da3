"""Error curves: the error of each cell along the axis of a sweep."""

from __future__ import annotations

import re

import pandas as pd

from ...storage.querying import Measurements, quoted
from .bounds import define_spacing
from .medians import medians
from .ordering import CELL, KEYS, in_order
from .uncounted import COUNTED_ULP, LARGEST, LARGEST_UNCOUNTED, median_and_largest

PREFIX = "sweep_"
QUANTITIES = ("loss", "gradient")
BOUNDS = ("bound_shifted", "bound_unshifted")
# The name of a case ends with its value; that of blocks may follow.
ALONG = "CAST(split_part(split_part(\"case\", '/', -1), '@', 1) AS DOUBLE)"
MAX_SHOWN = 6  # values of an axis on a page; the CSV file has all


def axes(measurements: Measurements | pd.DataFrame) -> list[str]:
    """Return the axes of the sweeps in the measurements, in their order."""
    # Files are named after axes, so a name must be a plain word.
    found = (re.fullmatch(rf"{PREFIX}([a-z_]{{1,40}})", str(f)) for f in Measurements.of(measurements).families)
    return [match[1] for match in found if match is not None]


def curve(measurements: Measurements | pd.DataFrame, axis: str, quantity: str) -> pd.DataFrame:
    """Return the median and largest error in ulp over the graded rows, a line for each cell and value of the axis.

    ``uncounted`` is as in `errors`; if it is the only number, every row of the value is left out.
    """
    found = Measurements.of(measurements)
    rows = f"""SELECT *, {ALONG} AS along FROM measurements
        WHERE {_swept(axis)} AND quantity = '{quantity}' AND grade IS NOT NULL"""
    keys = [*CELL, "along"]
    largest = found.sql(f"SELECT {KEYS}, along, {LARGEST}, {LARGEST_UNCOUNTED} FROM ({rows}) GROUP BY {KEYS}, along")
    table = largest.merge(medians(found, keys, {"median": COUNTED_ULP}, rows), on=keys, how="left")
    table = table[[*keys, "median", "largest", "uncounted"]].rename(columns={"along": axis})
    return in_order(found.cells, table.sort_values(axis, kind="stable"))


def bounds_along(found: Measurements, axis: str) -> pd.DataFrame:
    """Return the largest bound of the loss over the rows, in ulp, for each dtype and value of the axis.

    The bound is missing if a row has none, since it must hold for every row.
    """
    define_spacing(found)
    largest = ", ".join(
        f"CASE WHEN count({bound}) = count(*) THEN max({bound} / ulp) END AS {bound}" for bound in BOUNDS
    )
    table = found.sql(
        f"""WITH rows AS (
            SELECT DISTINCT ON (dtype, "case", row) *, {ALONG} AS along, spacing(exact, dtype) AS ulp
            FROM measurements
            WHERE {_swept(axis)} AND quantity = 'loss' AND grade IS NOT NULL AND isfinite(exact)
            ORDER BY place
        )
        SELECT dtype, along, {largest} FROM rows GROUP BY dtype, along
        ORDER BY min(min(place)) OVER (PARTITION BY dtype), along"""
    )
    return table.rename(columns={"along": axis})


def drawable(table: pd.DataFrame) -> pd.Series[float]:
    """Return the largest errors of a curve, and 0 where the grade counts the error of no row."""
    return table["largest"].mask(table["largest"].isna() & table["uncounted"].notna(), 0.0)


def shown(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return the curve with a column for each of a few values, evenly spaced from the first to the last."""
    values = sorted(table[axis].unique())
    steps = min(len(values), MAX_SHOWN)
    taken = [values[round(i * (len(values) - 1) / max(steps - 1, 1))] for i in range(steps)]
    kept = table[table[axis].isin(taken)].copy()
    kept["words"] = list(map(median_and_largest, kept["median"], kept["largest"], kept["uncounted"]))
    wide = kept.pivot(index=CELL, columns=axis, values="words").reindex(columns=taken)
    wide.columns = [f"{value:g}" for value in taken]
    return in_order(table, wide.reset_index())


def _swept(axis: str) -> str:
    return f"family = {quoted(f'{PREFIX}{axis}')}"
