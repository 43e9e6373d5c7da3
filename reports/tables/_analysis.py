"""Measured errors held against what rounding error analysis promises."""

from __future__ import annotations

import pandas as pd

from ...storage.querying import Measurements
from ._medians import medians
from .ordering import CELL, in_order
from .tables import KEYS, Source

BOUNDS = ("unshifted", "shifted")
# Below a condition of 1 the stability ratio of even a correctly rounded loss has no bound.
_ROWS = f"""
    SELECT {KEYS}, quantity, place,
        number(max_abs / bound_unshifted) AS unshifted, number(max_abs / bound_shifted) AS shifted,
        CASE WHEN quantity = 'loss' AND condition >= 1 THEN stability_ratio END AS stability
    FROM measurements WHERE quantity IN ('probabilities', 'loss') AND max_abs IS NOT NULL"""


def against_bounds(measurements: Source) -> pd.DataFrame:
    """For each implementation, mode, device, dtype and quantity: errors over their a-priori bounds, and stability.

    For each of the two bounds: ``rows`` that have one, ``median`` and ``largest`` error as a multiple of it (inf where
    a row is not finite and should be), and the rows ``beyond`` it. Of the loss also the median and the largest
    stability ratio, over the rows whose condition is at least 1: below, the ratio of even a correctly rounded loss has
    no bound.
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
