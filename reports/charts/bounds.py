"""Errors against bounds: the largest measured error among losses with a similar bound."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ...core.formats import get_format
from ...core.vocabulary import Formula
from ...storage.querying import Measurements
from ..tables.bounds import largest_by_bound
from ..tables.grades import labels
from .style import BEYOND, FIT, LINES, ROOM, SMALL, Figure, beyond, decades, distinct, encoded, laid_out, powers, slug

HEIGHT = 190
KEY_LINE = 7.5  # points: a line of the names below
FLOOR = 0.1  # ulp


def figures(found: Measurements) -> Iterator[Figure]:
    """Yield a figure for each dtype, mode and device in which losses have bounds."""
    table = largest_by_bound(found)
    for label, numbers in table.groupby(labels(table), sort=False):
        yield Figure(
            slug(f"bound {label}"),
            f"Largest measured error of a finite loss against its a-priori bound, {label}, in ulp. Below the line the "
            "bound holds. Each point is the largest error over all implementations of a formula with a similar bound. "
            "A number names the built-in. Naive has the bound without shift, the others the bound with shift; "
            f"{BEYOND}.",
            _drawn(numbers, get_format(numbers["dtype"].iloc[0]).unit_roundoff),
            numbers.reset_index(drop=True),
        )


def _drawn(numbers: pd.DataFrame, unit_roundoff: float) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    # Past 1/u ulp no digit is right, and the size of a bound says nothing more.
    top = 10.0 / unit_roundoff
    shown = _shown(numbers, top)
    kinds = [f for f in LINES if f in set(numbers["formula"])]
    key = pd.unique(shown.loc[shown["number"] != "", "implementation"])
    marks = encoded(kinds, columns=4)
    scale = alt.Scale(type="log", domain=[FLOOR / ROOM, top * ROOM], nice=False)
    axis = alt.Axis(**powers(decades(FLOOR, top)))
    x = alt.X("x:Q", title="a-priori bound of the loss (ulp)", scale=scale, axis=axis)
    y = alt.Y("y:Q", title="largest measured error (ulp)", scale=scale, axis=axis)
    even = pd.DataFrame({"x": [FLOOR / ROOM, top * ROOM], "y": [FLOOR / ROOM, top * ROOM]})
    line = alt.Chart(even).mark_line(color="black", strokeWidth=0.7, strokeDash=[3, 2]).encode(x=x, y=y)
    # Altair converts the data of each layer; the layers below share those of the whole.
    base = alt.Chart().encode(x=x, y=y)
    points = base.transform_filter("datum.beyond == ''").mark_point(size=16, strokeWidth=0.9, filled=False, opacity=1)
    names = [
        base.transform_filter(f"(datum.beyond == 'right') == {last}")
        .mark_text(fontSize=SMALL, dx=aside, dy=up, color=LINES[Formula.BUILTIN].colour, stroke=halo, strokeWidth=1.5)
        .encode(text="number:N")
        for last, aside, up in (("false", 5, -4), ("true", -10, 0))
        for halo in ("white", "transparent")
    ]
    drawn = alt.layer(
        line, *names, points.encode(color=marks.color, shape=marks.shape), *beyond(base, shown, marks.color, kinds),
        data=shown[["x", "y", "kind", "beyond", "number"]],
    )  # fmt: skip
    if len(key):
        lines = distinct(list(key), FIT - 4)
        drawn = drawn.properties(title=alt.Title([f"{i + 1} {n}" for i, n in enumerate(lines)], orient="bottom"))
    return laid_out(drawn, HEIGHT + KEY_LINE * len(key))


def _shown(numbers: pd.DataFrame, top: float) -> pd.DataFrame:
    """The points within the axes; ``beyond`` names the side on which a point is beyond them.

    Of a formula's points beyond the end of the bounds only the one with the largest error is drawn, since all would be
    in the same place.
    """
    right = numbers["its_bound"] > top
    last = numbers[right].sort_values("largest", ascending=False, kind="stable").drop_duplicates("formula")
    shown = pd.concat([numbers[~right], last.sort_index()], ignore_index=True)
    side = np.select(
        [shown["its_bound"] > top, shown["largest"] > top, shown["largest"] < FLOOR], ["right", "above", "below"], ""
    )
    builtin = shown["formula"] == Formula.BUILTIN
    number, _ = pd.factorize(shown["implementation"].where(builtin))
    return shown.assign(
        kind=shown["formula"].map(lambda f: LINES[f].name),
        beyond=side,
        x=shown["its_bound"].where(shown["its_bound"] <= top, top * ROOM).clip(FLOOR / ROOM),
        y=shown["largest"].where(shown["largest"] <= top, top * ROOM).where(shown["largest"] >= FLOOR, FLOOR / ROOM),
        number=[str(n + 1) if n >= 0 else "" for n in number],
    )
