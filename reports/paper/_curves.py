"""Error curves: the error of every implementation along the axis of a sweep, with the a-priori bounds of the loss."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ...storage.querying import Measurements
from ..charts.axes import FLOOR, along, errors, top_of
from ..charts.style import BEYOND, LINES, ROOM, Figure, beyond, encoded, laid_out, slug
from ..tables.curves import BOUNDS, QUANTITIES, axes, bounds_along, curve, drawable
from ..tables.grades import labels

HEIGHT = 190
POINT_EVERY = 4  # values; points at each value would cover the lines


def figures(found: Measurements) -> Iterator[Figure]:
    """Yield a figure for each axis, quantity, dtype, mode and device of a sweep."""
    formula = found.cells.drop_duplicates("implementation").set_index("implementation")["formula"]
    for axis in axes(found):
        for quantity in QUANTITIES:
            table = curve(found, axis, quantity)
            if table.empty:
                continue
            table.insert(2, "formula", table["implementation"].map(formula))
            bounds = bounds_along(found, axis)
            table = table.merge(bounds if quantity == "loss" else bounds.iloc[:0], on=["dtype", axis], how="left")
            for label, part in table.groupby(labels(table), sort=False):
                yield Figure(
                    slug(f"curve {axis} {quantity} {label}"),
                    f"Largest error of the {quantity} in ulp along the {axis}, {label}: a line for each "
                    f"implementation. Results that are not finite are at the top. {BEYOND.capitalize()}; at the bottom "
                    "also an error within the smallest normal number, which no grade counts.",
                    _drawn(part, axis, quantity),
                    part,
                )


def _drawn(table: pd.DataFrame, axis: str, quantity: str) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    top = top_of(table["dtype"].iloc[0])
    lines = _lines(table, axis)
    # A bound beyond the axis is left out: drawn at its end it would look infinite.
    lines = lines[~(lines["line"].isin(BOUNDS) & (lines["error"] > top))]
    infinite, last = np.isinf(lines["error"].astype(float)), top / np.sqrt(10.0)
    lines["beyond"] = np.select([lines["error"] < FLOOR, ~infinite & (lines["error"] > last)], ["below", "above"], "")
    error = lines["error"].where(lines["error"] >= FLOOR, FLOOR / ROOM)
    lines["error"] = np.where(infinite, top, error.clip(upper=last))
    kinds = [k for k, line in LINES.items() if line.name in set(lines["kind"])]
    formulas, bounds = ([k for k in kinds if (k in BOUNDS) == bound] for bound in (False, True))
    marks = encoded(formulas, columns=2)
    x = along(axis, table[axis])
    y = errors("error", top, f"largest error of the {quantity} (ulp)")
    losses, promised = (lines[lines["line"].isin(BOUNDS) == bound] for bound in (False, True))
    base = alt.Chart(losses).encode(x=x, y=y, detail="line:N")
    drawn = base.mark_line(strokeWidth=0.9, opacity=1).encode(color=marks.color, strokeDash=marks.dash)
    points = (
        base.transform_filter("datum.pointed && datum.beyond == ''")
        .mark_point(size=11, strokeWidth=0.8, filled=False, opacity=1)
        .encode(color=marks.color, shape=marks.shape)
    )
    # Kinds take turns in having points, so no arrow covers another.
    arrows = beyond(base.transform_filter("datum.pointed"), losses, marks.color, formulas, apart=0)
    layers = [drawn, points, *arrows]
    if bounds:
        of_bound = encoded(bounds, columns=1, title="a-priori bound", field="bound")
        dashed = alt.Chart(promised.rename(columns={"kind": "bound"})).mark_line(strokeWidth=0.9, opacity=1)
        black = alt.value(LINES[bounds[0]].colour)
        layers.insert(0, dashed.encode(x=x, y=y, color=black, strokeDash=of_bound.dash))
    # Only the dashes of the bounds have a legend.
    whole = alt.layer(*layers).resolve_scale(strokeDash="independent").resolve_legend(strokeDash="independent")
    return laid_out(whole, HEIGHT)


def _lines(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The points to draw, a line of the table each: implementations first, then bounds."""
    cells = table.assign(
        line=table["implementation"], error=drawable(table), kind=table["formula"].map(lambda f: LINES[f].name)
    )
    once = table.drop_duplicates(axis)
    bounds = [once.assign(line=b, error=once[b], kind=LINES[b].name).dropna(subset="error") for b in BOUNDS]
    drawn = pd.concat([cells, *bounds], ignore_index=True)[["line", "kind", axis, "error"]]
    step = drawn[axis].rank(method="dense").astype(int)
    turn = drawn["kind"].map({line.name: i for i, line in enumerate(LINES.values())})
    drawn["pointed"] = ((step + turn) % POINT_EVERY == 0) & ~drawn["line"].isin(BOUNDS)
    return drawn.dropna(subset="error")
