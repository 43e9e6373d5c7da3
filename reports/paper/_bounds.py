"""Measured against bound: the largest measured error among the losses whose bound is about as large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ...formats import FORMATS, ulp
from .._lines import plain
from .._matrix import labels
from ._look import LINES, Figure, decades, encoded, laid_out, powers, slug

HEIGHT = 190
BINS = 2  # for each power of ten of the bound
BOUND_OF = {"naive": "bound_unshifted", "lse": "bound_shifted", "log1p": "bound_shifted", "builtin": "bound_shifted"}
FLOOR = 0.1  # ulp


def figures(df: pd.DataFrame) -> Iterator[Figure]:
    """One for each dtype, mode and device in which losses have bounds."""
    rows = plain(df[(df["quantity"] == "loss") & df["grade"].notna() & df["max_abs"].notna()])
    rows = rows[rows["formula"].isin(BOUND_OF)]
    rows["bound"] = np.where(rows["formula"] == "naive", rows["bound_unshifted"], rows["bound_shifted"])
    # What is not finite has an infinite error, and would hide how all the others stand to the bound.
    rows = rows[(rows["bound"] > 0) & np.isfinite(rows["max_abs"])]
    for label, part in rows.groupby(labels(rows), sort=False):
        numbers = _numbers(part)
        yield Figure(
            slug(f"bound {label}"),
            f"Largest measured error of a finite loss against its a-priori bound, {label}, in ulp: below the line the "
            "bound holds. Naive against the bound without shift, the others against that with it.",
            _drawn(numbers, FORMATS[part["dtype"].iloc[0]].unit_roundoff),
            numbers,
        )


def _numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """For each formula and half power of ten of the bound: the rows, their largest error in ulp, and of whom."""
    dtype = rows["dtype"].iloc[0]
    spacing = ulp(rows["exact"].to_numpy(np.float64), FORMATS[dtype])
    in_ulp = rows.assign(bound=rows["bound"] / spacing, measured=rows["max_abs"] / spacing)
    in_ulp["bound at least"] = 10.0 ** (np.floor(np.log10(in_ulp["bound"]) * BINS) / BINS)
    keys = ["dtype", "mode", "device", "formula", "bound at least"]
    in_ulp["beyond"] = in_ulp["measured"] > in_ulp["bound"]
    worst = in_ulp.sort_values("measured", ascending=False, kind="stable").groupby(keys, sort=True)
    return (
        worst.agg(
            rows=("measured", "size"), largest=("measured", "max"), its_bound=("bound", "first"),
            beyond=("beyond", "sum"), implementation=("implementation", "first"), case=("case", "first"),
        ).reset_index()
    )  # fmt: skip


def _drawn(numbers: pd.DataFrame, unit_roundoff: float) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    # Past 1/u ulp no digit is right, and how wrong a bound is says nothing more.
    top = 10.0 / unit_roundoff
    shown = numbers[numbers["its_bound"] <= top]
    shown = shown.assign(kind=shown["formula"].map(lambda f: LINES[f].name), measured=shown["largest"].clip(FLOOR, top))
    marks = encoded([f for f in LINES if f in set(numbers["formula"])], columns=4)
    scale = alt.Scale(type="log", domain=[FLOOR, top], nice=False)
    axis = alt.Axis(**powers(decades(FLOOR, top)))
    x = alt.X("its_bound:Q", title="a-priori bound of the loss (ulp)", scale=scale, axis=axis)
    y = alt.Y("measured:Q", title="largest measured error (ulp)", scale=scale, axis=axis)
    even = pd.DataFrame({"its_bound": [FLOOR, top], "measured": [FLOOR, top]})
    line = alt.Chart(even).mark_line(color="black", strokeWidth=0.7, strokeDash=[3, 2]).encode(x=x, y=y)
    points = alt.Chart(shown).mark_point(size=16, strokeWidth=0.9, filled=False, opacity=1)
    return laid_out(line + points.encode(x=x, y=y, color=marks["color"], shape=marks["shape"]), HEIGHT)
