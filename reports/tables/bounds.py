"""Measured errors compared with the bounds of rounding error analysis."""

import numpy as np
import pandas as pd
import pyarrow as pa

from ...core.formats import get_format
from ...core.rounding import ulp
from ...core.vocabulary import FORMULAS
from ...storage.querying import Measurements
from .medians import medians
from .ordering import CELL, KEYS, in_order

BOUNDS = ("unshifted", "shifted")
BINS = 2  # for each power of ten of a bound
# Below a condition of 1 the stability ratio of even a correctly rounded loss has no bound.
_ROWS = f"""
    SELECT {KEYS}, quantity, place,
        number(max_abs / bound_unshifted) AS unshifted, number(max_abs / bound_shifted) AS shifted,
        CASE WHEN quantity = 'loss' AND condition >= 1 THEN stability_ratio END AS stability
    FROM measurements WHERE quantity IN ('probabilities', 'loss') AND max_abs IS NOT NULL"""


def against_bounds(measurements: Measurements | pd.DataFrame) -> pd.DataFrame:
    """Return errors as multiples of their a-priori bounds, and the stability of the loss, by cell and quantity.

    For each of the two bounds there are the number of ``rows`` with a bound, the ``median`` and ``largest`` multiple,
    and the number of rows ``beyond`` the bound. The multiple is inf if a row is not finite but should be. The loss also
    has the median and the largest stability ratio, over rows with a condition of at least 1. Below 1 the ratio of even
    a correctly rounded loss has no bound.
    """
    found = Measurements.of(measurements)
    counted = ", ".join(
        f"""count({name}) AS "{name} rows", max({name}) AS "{name} largest",
        count(*) FILTER ({name} > 1) AS "{name} beyond\""""
        for name in BOUNDS
    )
    keys = [*CELL, "quantity"]
    table = found.sql(
        f"""SELECT {KEYS}, quantity, {counted}, max(stability) AS "stability largest"
        FROM ({_ROWS}) GROUP BY {KEYS}, quantity ORDER BY min(place)"""
    )
    middle = medians(found, keys, {f"{name} median": name for name in (*BOUNDS, "stability")}, _ROWS)
    table = table[(table[[f"{name} rows" for name in BOUNDS]] > 0).any(axis=1)].merge(middle, on=keys)
    of_bound = [f"{name} {kind}" for name in BOUNDS for kind in ("rows", "median", "largest", "beyond")]
    return in_order(found.cells, table[[*keys, *of_bound, "stability median", "stability largest"]])


def largest_by_bound(found: Measurements) -> pd.DataFrame:
    """Return the largest error of each formula among losses with a similar bound, both in ulp of the exact loss.

    Naive is compared with the unshifted bound, the others with the shifted bound. Errors that are not finite are left
    out, since they would hide all others.

    Returns:
        ``dtype``, ``mode``, ``device``, ``formula``; ``bound at least``, a half power of ten; the ``rows``, their
        ``largest`` error with ``its_bound``, ``implementation`` and ``case``, and how many are ``beyond`` theirs. The
        dtypes, modes and devices come in the order of the run.
    """
    define_spacing(found)
    of_largest = "(measured, -place)"
    table = found.sql(
        f"""WITH rows AS (
            SELECT *, CASE formula WHEN 'naive' THEN bound_unshifted ELSE bound_shifted END AS its_own,
                spacing(exact, dtype) AS ulp
            FROM measurements WHERE quantity = 'loss' AND grade IS NOT NULL AND isfinite(max_abs) AND isfinite(exact)
                AND formula IN {FORMULAS}
        ), in_ulp AS (
            SELECT *, its_own / ulp AS bound, max_abs / ulp AS measured FROM rows WHERE its_own > 0
        ), counted AS (
            SELECT dtype, mode, device, formula, floor(log10(bound) * {BINS}) / {BINS} AS power, count(*) AS rows,
                max(measured) AS largest, arg_max(bound, {of_largest}) AS its_bound,
                count(*) FILTER (measured > bound) AS beyond, arg_max(implementation, {of_largest}) AS implementation,
                arg_max("case", {of_largest}) AS "case", min(place) AS first
            FROM in_ulp GROUP BY ALL
        )
        SELECT * EXCLUDE first FROM counted
        ORDER BY min(first) OVER (PARTITION BY dtype, mode, device), formula, power"""
    )
    table.insert(4, "bound at least", 10.0 ** table.pop("power").astype(float))
    return table


def define_spacing(found: Measurements) -> None:
    """Define the SQL function ``spacing(exact, dtype)``: an ulp of the dtype at the exact value."""
    found.define("spacing", _spacing, ["DOUBLE", "VARCHAR"], "DOUBLE")


def _spacing(exacts: pa.ChunkedArray, dtype: pa.ChunkedArray) -> pa.Array:
    exact, dtypes = exacts.to_numpy(), dtype.to_numpy()
    spacing = np.full(exact.shape, np.nan)
    for name in pd.unique(dtypes):
        of_dtype = dtypes == name
        # An exact loss that is not finite takes the spacing of the largest number: only the kind of result matters.
        at = np.where(np.isfinite(exact[of_dtype]), exact[of_dtype], get_format(name).largest)
        spacing[of_dtype] = ulp(at, get_format(name))
    return pa.array(spacing)
