"""Charts by Altair: pictures that need no script, and error curves that a script redraws."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ...core.formats import get_format
from ...core.vocabulary import Formula
from ...storage.querying import Measurements, quoted
from ..charts.palette import FORMULA_COLOURS
from ..charts.style import decades, powers
from ..tables.curves import PREFIX, QUANTITIES, bounds_along, curve, drawable

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, FAINT = "#1d2733", "#d9dee5"
BOUND = "#1d2733"
FLOOR = 0.05  # ulp; smaller errors are drawn here, since a logarithmic axis has no zero
LOGARITHMIC = 50.0  # the ratio of last to first value that makes an axis logarithmic
LABELS = {f.value: f.label for f in Formula}
_ORDER = (Formula.BUILTIN.label, "bound", *(f.label for f in Formula if f is not Formula.BUILTIN))
_BOUNDS = {"bound_shifted": "a-priori bound, shifted", "bound_unshifted": "a-priori bound, unshifted"}
CHARACTER, LONGEST = 7.0, 90  # pixels of a character, and the most characters of a name
NOTHING_RIGHT = 4.0  # times 1/u ulp: the end of the axis
_SHADES = ["#f3f5f8", "#0b3c6f"]


def write_svg(chart: Any, out: Path, file: str) -> None:
    """Write a chart as a picture into ``out/charts``."""
    import vl_convert  # noqa: PLC0415 - an extra

    spec = chart.to_dict(validate=False)  # altair has validated its parts
    (out / "charts" / file).write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")


@cache  # vl-convert takes over a second to bundle them
def library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed from vl-convert as one script, which defines only `vegaEmbed`."""
    import vl_convert  # noqa: PLC0415 - an extra

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return f"/* Vega, Vega-Lite and Vega-Embed: BSD-3-Clause, vega.github.io */\n(() => {{{bundle}}})();\n"


# --- error curves -----------------------------------------------------------------------------------------------


class Point(NamedTuple):
    """A point of a curve; ``kind`` is a formula's label or ``bound``."""

    implementation: str
    kind: str
    x: float
    y: float


def points(found: Measurements, axis: str) -> pd.DataFrame:
    """Return the curves along an axis, a point a line.

    The columns are ``quantity``, ``dtype``, ``implementation``, ``kind``, ``x`` (the axis) and ``y`` (error in ulp).
    The points are of the first mode and device. The a-priori bounds of the loss, the largest of the rows, count as
    implementations.
    """
    family = quoted(f"{PREFIX}{axis}")
    first = found.sql(f"SELECT mode, device FROM measurements WHERE family = {family} ORDER BY place LIMIT 1")
    formula = found.cells.drop_duplicates("implementation").set_index("implementation")["formula"]
    lines = [curve(found, axis, q).merge(first, on=["mode", "device"]).assign(quantity=q) for q in QUANTITIES]
    whole = pd.concat([line for line in lines if len(line)] or lines[:1], ignore_index=True)
    whole["kind"] = whole["implementation"].map(formula).map(LABELS)
    whole = whole.assign(y=drawable(whole)).rename(columns={axis: "x"})
    columns = ["quantity", "dtype", "implementation", "kind", "x", "y"]
    return pd.concat([whole[columns], _bounds(found, axis)[columns]], ignore_index=True)


def _bounds(found: Measurements, axis: str) -> pd.DataFrame:
    of_axis = bounds_along(found, axis).rename(columns={axis: "x"} | _BOUNDS)
    lines = of_axis.melt(["dtype", "x"], list(_BOUNDS.values()), "implementation", "y").dropna(subset="y")
    return lines.assign(quantity="loss", kind="bound")


def drawn(lines: pd.DataFrame, dtype: str, quantity: str) -> list[Point]:
    """Return the points of one dtype and quantity that `curves` draws."""
    shown = lines[(lines["dtype"] == dtype) & (lines["quantity"] == quantity)]
    if _logarithmic(shown["x"]):
        shown = shown[shown["x"] > 0]
    # The last curve drawn is on top: the formulas cover the many built-ins.
    shown = shown.sort_values("kind", key=lambda kinds: kinds.map(_ORDER.index), kind="stable")
    x, y = ([float(f"{v:.4g}") for v in shown[c].clip(upper=1e300)] for c in ("x", "y"))
    return [Point(*point) for point in zip(shown["implementation"], shown["kind"], x, y, strict=True)]


def curves(lines: pd.DataFrame, axis: str, dtype: str, quantity: str, width: int | str) -> Any:
    """Return the error curves of one dtype and quantity as a chart.

    Its data set ``lines`` has the points of `drawn` as records. ``width`` is in pixels, or ``container``.
    """
    import altair as alt  # noqa: PLC0415 - an extra

    shown = lines[(lines["dtype"] == dtype) & (lines["quantity"] == quantity)]
    top = NOTHING_RIGHT / get_format(dtype).unit_roundoff
    logarithmic = _logarithmic(shown["x"])
    x = alt.X("x:Q", title=axis + " (log)" * logarithmic).axis(format="~g", grid=False, labelOverlap=True)
    x = x.scale(nice=False, zero=False)
    if logarithmic:
        above = shown.loc[shown["x"] > 0, "x"]
        ticks = powers(decades(above.min(), above.max(), most=10))
        x = x.scale(type="log", nice=False).axis(grid=False, labelOverlap=True, **ticks)
    y = alt.Y("drawn:Q", title=f"largest error of the {quantity}, ulp (log)")
    y = y.scale(type="log", domain=[FLOOR, top], nice=False).axis(**powers(decades(FLOOR, top, most=8)))
    formulas = [f for f in Formula if f.label in set(shown["kind"])]
    kinds, colours = [f.label for f in formulas], [FORMULA_COLOURS[f] for f in formulas]
    bound = ["bound"] * ("bound" in set(shown["kind"]))
    legend = alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolSize=260, columns=3)
    colour = alt.Color("kind:N", title=None).scale(domain=[*kinds, *bound], range=[*colours, BOUND]).legend(legend)
    dashes = [[1, 0]] * len(kinds) + [[4, 3]]
    dash = alt.StrokeDash("kind:N", title=None).scale(domain=[*kinds, *bound], range=dashes).legend(legend)
    hover = alt.selection_point(
        on="pointerover", nearest=True, fields=["implementation"], empty=False, clear="pointerout"
    )
    tips = [
        alt.Tooltip("implementation:N"),
        alt.Tooltip("x:Q", title=axis, format="~g"),
        alt.Tooltip("y:Q", title="ulp", format=".3g"),
    ]
    base = alt.Chart(alt.NamedData("lines")).transform_calculate(drawn=f"clamp(datum.y, {FLOOR}, {top!r})")
    base = base.encode(x=x, y=y, detail="implementation:N", tooltip=tips)
    line = base.mark_line().encode(
        color=colour,
        strokeDash=dash,
        strokeWidth=alt.condition(hover, alt.value(3.5), alt.value(1.4)),
        opacity=alt.condition(hover, alt.value(1.0), alt.value(0.8)),
    )
    near = base.mark_point(opacity=0, size=120).add_params(hover)
    return dressed((line + near).properties(width=width, height=320))


def with_points(chart: Any, points: Sequence[Point]) -> Any:
    """Return a chart of `curves` that contains its data."""
    return chart.properties(datasets={"lines": [point._asdict() for point in points]})


def _logarithmic(x: pd.Series[float]) -> bool:
    above = x[x > 0]
    return bool(len(above) and above.max() / above.min() >= LOGARITHMIC)


# --- pictures ---------------------------------------------------------------------------------------------------


def differences(table: pd.DataFrame, column: str) -> Any:
    """Return a chart of the share of rows whose bits differ from the base, for each implementation and quantity."""
    import altair as alt  # noqa: PLC0415 - an extra

    shown = table[table["quantity"].isin(QUANTITIES)]
    shown = shown.groupby(["implementation", column, "quantity"], sort=False)[["rows", "different", "worse"]].sum()
    shown = shown.reset_index().assign(share=lambda t: t["different"] / t["rows"])
    order = list(pd.unique(shown["implementation"]))
    colour = alt.Color("quantity:N", title=None, legend=alt.Legend(orient="top", symbolType="circle"))
    x = (
        alt.X("share:Q", title="rows whose bits differ")
        .axis(format=".0%", orient="top", values=[0, 0.25, 0.5, 0.75, 1])
        .scale(domain=[0, 1])
    )
    y = alt.Y("implementation:N", sort=order, title=None).axis(grid=True, **_names(order))
    drawn = alt.Chart(shown).mark_point(filled=True, size=60, opacity=1).encode(
        x=x, y=y,
        color=colour.scale(domain=list(QUANTITIES), range=["#0072b2", "#d55e00"]),
        shape=alt.Shape("quantity:N").scale(domain=list(QUANTITIES), range=["circle", "diamond"]),
    )  # fmt: skip
    panels = drawn.properties(width=230, height=16 * len(order)).facet(
        column=alt.Column(f"{column}:N", title=None, header=alt.Header(labelFontSize=13, labelFontWeight="bold"))
    )
    return dressed(panels)


def equal_losses(pairs: pd.DataFrame, dtype: str) -> Any:
    """Return a chart of the share of common rows on which two implementations return the same bits."""
    import altair as alt  # noqa: PLC0415 - an extra

    part = pairs[(pairs["dtype"] == dtype) & (pairs["rows"] > 0)].assign(share=lambda t: t["equal"] / t["rows"])
    order = list(pd.unique(pd.concat([part["one"], part["other"]])))
    side = 14 * len(order)
    x = alt.X("one:N", sort=order, title=None).axis(labelAngle=-90, **_names(order))
    y = alt.Y("other:N", sort=order, title=None).axis(**_names(order))
    legend = alt.Legend(orient="top", format=".0%", gradientLength=200, title="rows with equal losses")
    colour = alt.Color("share:Q", legend=legend).scale(domain=[0, 1], range=_SHADES)
    drawn = alt.Chart(part).mark_rect(stroke="white", strokeWidth=0.5).encode(x=x, y=y, color=colour)
    return dressed(drawn.properties(width=side, height=side))


def _names(names: Sequence[str]) -> dict[str, Any]:
    """The settings of an axis of names, with room for wide fonts."""
    return {
        "labelLimit": CHARACTER * LONGEST,
        "minExtent": CHARACTER * min(max(map(len, names)), LONGEST),
        "ticks": False,
        "domain": False,
    }


def dressed(chart: Any, spare: float = 0.0) -> Any:
    """Return the chart in the fonts and colours of the site, with ``spare`` more pixels at its right."""
    words = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontWeight": "normal"}
    colours = {"gridColor": FAINT, "domainColor": "#8894a3", "tickColor": "#8894a3"}
    # All settings at once, since each call of Altair copies all layers.
    return chart.configure(
        font=FONT, background="white", padding={"left": 4, "top": 4, "right": 4 + spare, "bottom": 4},
        axis=words | colours | {"titleFontSize": 12, "titlePadding": 8}, legend=words | {"labelLimit": 300},
        view={"stroke": None},
    )  # fmt: skip
