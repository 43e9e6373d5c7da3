"""The style of figures. Sizes are in points: a figure printed at its own width has fonts of the sizes given here."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import pandas as pd

from ...core.errors import UsageError
from ...core.files import digest
from ...core.vocabulary import Formula
from .palette import FORMULA_COLOURS

if TYPE_CHECKING:
    import altair as alt

WIDTH = 238  # points: 3.3 inches, a column of a two-column page
WIDE = 504  # points: 7 inches, both columns
FONT, SMALL = 7, 6
MAX_SLUG = 60  # characters
CHARACTER = 0.52  # a character's mean width over the font's size
FIT = int(0.95 * WIDTH / (CHARACTER * SMALL))  # small characters in a line below a figure
_BLACK, _GREY = "#000000", "#777777"
_MODULES = {"vl-convert-python": "vl_convert"}  # of packages whose name differs


class Figure(NamedTuple):
    """A chart, with the numbers behind it. ``title`` is its caption: it explains every mark of the chart."""

    name: str
    title: str
    chart: alt.LayerChart
    numbers: pd.DataFrame


class Line(NamedTuple):
    """A kind of line: its name in the legend, its colour, dashes and points."""

    name: str
    colour: str
    dashes: tuple[float, ...]
    point: str


_STROKE = "M-1,0L1,0"
_LOOKS: dict[Formula, tuple[tuple[float, ...], str]] = {
    Formula.NAIVE: ((1, 0), "cross"),
    Formula.LSE: ((5, 2), "square"),
    Formula.LOG1P: ((2, 1), "triangle-up"),
    Formula.ONLINE: ((8, 2), "diamond"),
    Formula.BUILTIN: ((6, 2, 1, 2), "circle"),
}
LINES: dict[str, Line] = {f: Line(f.label, FORMULA_COLOURS[f], dashes, point) for f, (dashes, point) in _LOOKS.items()}
LINES |= {
    "bound_shifted": Line("shifted", _BLACK, (1, 0), _STROKE),
    "bound_unshifted": Line("unshifted", _BLACK, (1, 1.5), _STROKE),
}


def require(what: str, *packages: str) -> None:
    """Raise a UsageError if a package of the extra ``report`` is not installed."""
    missing = [package for package in packages if not find_spec(_MODULES.get(package, package))]
    if missing:
        raise UsageError(f"{what} {' and '.join(missing)}; install with `pip install 'logitlab[report]'`")


class Encoding(NamedTuple):
    """The colour, dashes and points that tell the kinds of lines of a chart apart."""

    color: alt.Color
    dash: alt.StrokeDash
    shape: alt.Shape


class Ticks(TypedDict):
    """The ticks of an axis and their labels: keyword arguments of Altair's ``Axis``."""

    values: list[float]
    labelExpr: str


def encoded(kinds: Sequence[str], columns: int, title: str = "formula", field: str = "kind") -> Encoding:
    """Return the colour, dashes and points for a field of kinds, with one legend.

    The legend shows colours and points; it shows dashes only for kinds without points, since it would draw the points
    dashed.
    """
    import altair as alt  # noqa: PLC0415 - an extra

    lines = [LINES[k] for k in LINES if k in kinds]
    names = [line.name for line in lines]
    legend = alt.Legend(orient="top", columns=columns, symbolSize=40, symbolStrokeWidth=1, title=title, labelLimit=120)
    of_field, pointless = f"{field}:N", all(line.point == _STROKE for line in lines)
    dashes = [list(line.dashes) for line in lines]
    return Encoding(
        alt.Color(of_field, legend=legend).scale(domain=names, range=[line.colour for line in lines]),
        alt.StrokeDash(of_field, legend=legend if pointless else None).scale(domain=names, range=dashes),
        alt.Shape(of_field, legend=legend).scale(domain=names, range=[line.point for line in lines]),
    )


def laid_out(chart: Any, height: float, width: float = WIDTH, *, framed: bool = True) -> Any:
    """Return the chart at a width that includes its labels, with a frame around the data in place of axis lines."""
    axis = {
        "labelFontSize": FONT, "titleFontSize": FONT, "titleFontWeight": "normal", "titlePadding": 6,
        "gridOpacity": 0.4, "gridWidth": 0.5, "tickSize": 3, "tickWidth": 0.5, "domain": False, "labelPadding": 2,
        "tickColor": _GREY,
    }  # fmt: skip
    legend = {
        "labelFontSize": FONT, "titleFontSize": FONT, "titleFontWeight": "normal", "rowPadding": 1,
        "columnPadding": 6, "offset": 4, "padding": 0, "titlePadding": 2,
    }  # fmt: skip
    title = {"fontSize": SMALL, "fontWeight": "normal", "anchor": "start", "offset": 5, "lineHeight": 7.5}
    view = {"stroke": _GREY if framed else None, "strokeWidth": 0.5}
    sized = chart.properties(width=width, height=height, autosize={"type": "fit", "contains": "padding"}, padding=1)
    # All settings at once, since each call of Altair copies all layers.
    return sized.configure(axis=axis, legend=legend, title=title, view=view)


# A point beyond an axis is an arrow at its end, in the colour of its kind.
_ARROWS = {
    "below": ("M0,-1.6L0,1.6M-0.9,0.6L0,1.6L0.9,0.6", 0, -4),
    "above": ("M0,1.6L0,-1.6M-0.9,-0.6L0,-1.6L0.9,-0.6", 0, 4),
    "right": ("M-1.6,0L1.6,0M0.6,-0.9L1.6,0L0.6,0.9", -4, 0),
}
ROOM = 2.5  # a logarithmic axis extends by this factor, so that the arrows at its end cover no point
BEYOND = "an arrow at the end of an axis marks a point beyond it"


def beyond(chart: Any, shown: pd.DataFrame, colour: Any, kinds: Sequence[str], apart: float = 3.0) -> list[Any]:
    """Return layers of the points beyond an axis, with the kinds ``apart`` from each other, so that none is hidden.

    ``shown`` has the points of the chart. Without such a point, a side and kind has no layer.
    """
    layers = []
    there = set(zip(shown["beyond"], shown["kind"], strict=True))
    for side, (shape, x, y) in _ARROWS.items():
        for i, kind in enumerate(kinds):
            if (side, LINES[kind].name) not in there:
                continue
            aside = apart * (i - (len(kinds) - 1) / 2)
            place = {"xOffset": x + (0 if x else aside), "yOffset": y + (0 if y else aside)}
            of_kind = f"datum.beyond == '{side}' && datum.kind == {json.dumps(LINES[kind].name)}"
            marks = chart.transform_filter(of_kind).mark_point(
                shape=shape, size=16, strokeWidth=0.9, opacity=1, **place
            )
            layers.append(marks.encode(color=colour))
    return layers


def powers(values: Sequence[float], last: str | None = None) -> Ticks:
    """Return an axis with ticks at powers of ten; ``last`` replaces the label of the last tick.

    Labels such as ``1e5`` stand in for superscripts, which the font of the figures lacks beyond the cube.
    """
    exponents = [round(math.log10(value)) for value in values]
    names = {str(e): f"{10.0**e:g}" if abs(e) <= 3 else f"1e{e}" for e in exponents}
    if last is not None:
        names[str(exponents[-1])] = last
    return {"values": list(values), "labelExpr": f"{names}[round(log(datum.value) / LN10)]"}


def decades(low: float, high: float, most: int = 6) -> list[float]:
    """Return evenly spaced powers of ten between two numbers, at most ``most``."""
    first, end = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**e for e in range(first, end + 1, max(1, math.ceil((end - first + 1) / most)))]


def slug(words: str) -> str:
    """Return words as a part of a file's name."""
    plain = re.sub(r"[^A-Za-z0-9.+]+", "-", words).strip("-.") or "x"
    return plain if len(plain) <= MAX_SLUG else f"{plain[: MAX_SLUG - 11]}-{digest(plain.encode())[:10]}"


def shortened(name: str, most: int, end: int | None = None) -> str:
    """Return a name on one line of at most ``most`` characters, cut in the middle: options are at its end."""
    whole = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(whole) <= most:
        return whole
    end = most // 3 if end is None else end
    return f"{whole[: most - end - 1]}…{whole[len(whole) - end :]}"


def distinct(names: Sequence[str], most: int) -> list[str]:
    """Return the names `shortened` and still distinct: with more of the end if two become the same, else with a number.

    On an axis, two names that become the same would be drawn over each other.
    """
    found = [shortened(name, most) for name in names]
    for end in (most // 2, 2 * most // 3, 5 * most // 6):
        count = Counter(found)
        found = [shortened(n, most, end) if count[f] > 1 else f for n, f in zip(names, found, strict=True)]
    taken: set[str] = set()
    for i, name in enumerate(found):
        number = 1
        while found[i] in taken:
            number += 1
            found[i] = f"{name[: most - 1 - len(str(number))]}#{number}"
        taken.add(found[i])
    return found
