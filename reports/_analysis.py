"""Measured errors held against what rounding error analysis promises."""

from __future__ import annotations

import pandas as pd

from ._lines import CELL, in_order, plain

BOUNDED = ("probabilities", "loss")
BOUNDS = ("unshifted", "shifted")


def against_bounds(df: pd.DataFrame) -> pd.DataFrame:
    """For each implementation, mode, device, dtype and quantity: errors over their a-priori bounds, and stability.

    For each of the two bounds: ``rows`` that have one, ``median`` and ``largest`` error as a multiple of it (inf where
    a row is not finite and should be), and the rows ``beyond`` it. Of the loss also the median and the largest
    stability ratio, over the rows whose condition is at least 1: below, the ratio of even a correctly rounded loss has
    no bound.
    """
    rows = plain(df[df["quantity"].isin(BOUNDED) & df["max_abs"].notna()])
    columns: dict[str, tuple[str, str]] = {}
    for name in BOUNDS:
        multiple = rows["max_abs"] / rows[f"bound_{name}"]
        rows[name], rows[f"{name} over"] = multiple, multiple > 1
        columns |= {
            f"{name} rows": (name, "count"),
            f"{name} median": (name, "median"),
            f"{name} largest": (name, "max"),
            f"{name} beyond": (f"{name} over", "sum"),
        }
    rows["stability"] = rows["stability_ratio"].where((rows["quantity"] == "loss") & (rows["condition"] >= 1))
    columns |= {"stability median": ("stability", "median"), "stability largest": ("stability", "max")}
    table = rows.groupby([*CELL, "quantity"], sort=False).agg(**columns).reset_index()
    return in_order(df, table[(table[[f"{name} rows" for name in BOUNDS]] > 0).any(axis=1)])
