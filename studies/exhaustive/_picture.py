"""The pictures of a study: the largest error along the gap, a panel for each result that differs in any bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...core.formats import Format, get_format
from ...core.vocabulary import GRADES
from ...reports.charts.palette import GRADE_COLOURS
from ...reports.charts.style import FONT, SMALL, decades, distinct, powers, shortened, slug
from ._curve import SIDE, axis_ends, places
from ._wording import Record, alike, lost, result

FLOOR = 0.25  # ulp; a smaller error has a bar of this height
LOST = 10.0  # the end of the axis of errors in 1/u ulp, at which no digit is right
WIDTH, HEIGHT, ACROSS = 150, 62, 3  # points, and panels in a row
NAME, SAME = 46, 52  # characters of a panel's name, and of the line with those of the same bits
TICKS, TICK_APART = 3, 0.22  # the most ticks on each side of 0, and the place of the first
INFINITE = 10.0  # a value that is not finite is drawn this factor above the end of the axis of errors


class Picture(NamedTuple):
    """A picture with the name of its file."""

    name: str
    chart: Any


def pictures(table: pd.DataFrame, curve: pd.DataFrame, rows: Mapping[str, str]) -> list[Picture]:
    """Return a picture of each dtype and quantity with a result; the arguments are the parts of an `Exhaustive`."""
    measured = table[table["bits"].notna()]
    return [
        Picture(
            slug(f"{dtype}-{quantity}"),
            _drawn(lines, curve[(curve["dtype"] == dtype) & (curve["quantity"] == quantity)], rows[str(dtype)]),
        )
        for (dtype, quantity), lines in measured.groupby(["dtype", "quantity"], sort=False)
    ]


def _drawn(lines: pd.DataFrame, curve: pd.DataFrame, rows: str) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    dtype, quantity = str(lines["dtype"].iloc[0]), str(lines["quantity"].iloc[0])
    fmt = get_format(dtype)
    top = 10.0 ** math.ceil(math.log10(LOST / fmt.unit_roundoff))
    groups = list(alike(lines))
    names = distinct([group[0]["implementation"] for group in groups], NAME)
    titles = ["\n".join(_title(name, group)) for name, group in zip(names, groups, strict=True)]
    bars = pd.concat(
        [
            _bars(curve[curve["implementation"] == group[0]["implementation"]], top).assign(panel=title)
            for title, group in zip(titles, groups, strict=True)
        ],
        ignore_index=True,
    )
    # Both layers have the axis: Vega-Lite merges it with a default one otherwise.
    x, x_of_ring = (
        alt.X(f"{field}:Q", title="gap", axis=alt.Axis(**_gap_axis(fmt))).scale(domain=[-1.02, 1.02], nice=False)
        for field in ("left", "place")
    )
    ticks = powers([*decades(1.0, top, most=4), top * INFINITE], last="∞")
    y = alt.Y("height:Q", title="largest error (ulp)", axis=alt.Axis(**ticks))
    y = y.scale(type="log", domain=[FLOOR / 2, top * INFINITE * 1.5], nice=False)
    colour = alt.Color("grade:N", title="grade").scale(domain=list(GRADES), range=list(GRADE_COLOURS.values()))
    skyline = alt.Chart().mark_rect().encode(x=x, x2="right:Q", y=y, y2=alt.datum(FLOOR / 2), color=colour)
    ring = (
        alt.Chart()
        .transform_filter("datum.worst")
        .mark_point(size=22, strokeWidth=0.9, filled=False, color="black", opacity=1)
        .encode(x=x_of_ring, y=y)
    )
    header = alt.Header(labelExpr="split(datum.label, '\\n')", labelFontSize=SMALL, labelAnchor="start", labelPadding=2)
    title = alt.Title(
        f"The {quantity} of {rows}, in {dtype}",
        subtitle=[
            "Gap: the target's logit minus the other one, on a logarithmic axis to both sides of 0.",
            "A bar is the largest error among the gaps of its column, in the colour of its grade.",
            "A bar that ends at ∞ is a result that is not finite, or should not be.",
            "A ring marks the row of the worst grade with the largest error.",
        ],
        fontSize=FONT + 2, subtitleFontSize=FONT, anchor="start", offset=6,
    )  # fmt: skip
    return (
        alt.layer(skyline, ring, data=bars)
        .properties(width=WIDTH, height=HEIGHT)
        .facet(alt.Facet("panel:N", title=None, sort=titles, header=header), columns=ACROSS, spacing=8)
        .properties(title=title, padding=4)
        .resolve_axis(x="independent")
        .configure_axis(
            labelFontSize=SMALL, titleFontSize=SMALL, titleFontWeight="normal", titlePadding=2, gridOpacity=0.4,
            gridWidth=0.5, tickSize=2, tickWidth=0.5, domain=False, labelPadding=1,
        )
        .configure_legend(labelFontSize=FONT, titleFontSize=FONT, titleFontWeight="normal", orient="top", offset=2)
        .configure_view(stroke="#777777", strokeWidth=0.5)
    )  # fmt: skip


def _title(name: str, group: Sequence[Record]) -> list[str]:
    """Return the lines above a panel: the name, the worst row, and the implementations with the same bits."""
    first, others = group[0], [str(line["implementation"]) for line in group[1:]]
    same = f"same bits: {others[0]}{f' and {len(others) - 1} more' if others[1:] else ''}" if others else ""
    worst = "; ".join(filter(None, [result(first), lost(first)]))
    return [name, worst, *([shortened(same, SAME)] if same else [])]


def _bars(curve: pd.DataFrame, top: float) -> pd.DataFrame:
    """Return the bars of a panel, the largest first, so that a smaller one of another grade is in front of it.

    Neighbours of one grade and height, of which a result that is not finite has many, are one bar.
    """
    ulp = curve["ulp"].astype(float)
    rank = curve["grade"].map({g: i for i, g in enumerate(GRADES)})
    worst = np.lexsort((curve["gap"].abs(), -ulp, -rank))[0]
    height = np.where(np.isinf(ulp), top * INFINITE, ulp.clip(FLOOR, top))
    columns = curve.assign(
        column=curve["column"].astype(int), height=[float(f"{h:.3g}") for h in height],
        worst=np.arange(len(curve)) == worst,
    ).sort_values(["grade", "column"])  # fmt: skip
    is_next = (columns["column"].diff() == 1) & (columns["height"].diff() == 0)
    run = (~is_next | (columns["grade"] != columns["grade"].shift())).cumsum()
    columns["place"] = columns["place"].where(columns["worst"])
    found = columns.groupby(run).agg(
        first=("column", "min"), last=("column", "max"), place=("place", "max"), height=("height", "first"),
        grade=("grade", "first"), worst=("worst", "any"),
    )  # fmt: skip
    found["left"], found["right"] = ((found["first"] - 0.5) / SIDE).round(5), ((found["last"] + 0.5) / SIDE).round(5)
    found["place"] = found["place"].astype(float).round(5).fillna(0.0)
    return found.drop(columns=["first", "last"]).sort_values("height", ascending=False, kind="stable")


def _gap_axis(fmt: Format) -> dict[str, Any]:
    """Return ticks at powers of ten of the gap on both sides of 0."""
    low, high = axis_ends(fmt)
    sizes = [10.0**e for e in range(-9, 10) if 2.0**low <= 10.0**e <= 2.0**high]
    apart = [s for s, place in zip(sizes, places(np.array(sizes), fmt), strict=True) if place > TICK_APART]
    shown = apart[:: math.ceil(len(apart) / TICKS)]
    gaps = np.array([*(-s for s in reversed(shown)), 0.0, *shown])
    at = places(gaps, fmt).round(6)
    names = {str(round(place * 1e6)): f"{gap:g}" for place, gap in zip(at, gaps, strict=True)}
    return {
        "values": [float(place) for place in at],
        "labelExpr": f"{names}[round(datum.value * 1e6)]",
        "labelOverlap": False,
    }
