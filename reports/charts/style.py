"""How figures look: sizes in points, so that a figure set at its own width has fonts of the size named here."""

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
LONGEST = 60  # of a part of a file's name
CHARACTER = 0.52  # a character's mean width over the font's size
FIT = int(0.95 * WIDTH / (CHARACTER * SMALL))  # small characters, below a figure
_BLACK, _GREY = "#000000", "#777777"
_MODULES = {"vl-convert-python": "vl_convert"}  # of the packages that bear another name


class Figure(NamedTuple):
    """A chart, with the numbers behind it. ``title`` is its caption: it explains every mark of the chart."""

    name: str
    title: str
    chart: alt.LayerChart
    numbers: pd.DataFrame


class Line(NamedTuple):
    """A kind of line: its name in the legend, its colour, its dashes and its points."""

    name: str
    colour: str
    dashes: tuple[float, ...]
    point: str


_STROKE = "M-1,0L1,0"
_LOOKS: dict[Formula, tuple[tuple[float, ...], str]] = {
    Formula.NAIVE: ((1, 0), "cross"),
    Formula.LSE: ((5, 2), "square"),
    Formula.LOG1P: ((2, 1), "triangle-up"),
    Formula.BUILTIN: ((6, 2, 1, 2), "circle"),
}
LINES: dict[str, Line] = {f: Line(f.label, FORMULA_COLOURS[f], dashes, point) for f, (dashes, point) in _LOOKS.items()}
LINES |= {
    "bound_shifted": Line("shifted", _BLACK, (1, 0), _STROKE),
    "bound_unshifted": Line("unshifted", _BLACK, (1, 1.5), _STROKE),
}


def require(what: str, *packages: str) -> None:
    """UsageError where a package of the extra ``report`` is not installed."""
    missing = [package for package in packages if not find_spec(_MODULES.get(package, package))]
    if missing:
        raise UsageError(f"{what} {' and '.join(missing)}; install with `pip install 'logitlab[report]'`")


class Encoding(NamedTuple):
    """What tells the kinds of lines of a chart apart."""

    color: alt.Color
    dash: alt.StrokeDash
    shape: alt.Shape


class Ticks(TypedDict):
    """Where an axis has ticks, and what they are called: keyword arguments of Altair's ``Axis``."""

    values: list[float]
    labelExpr: str


def encoded(kinds: Sequence[str], columns: int, title: str = "formula", field: str = "kind") -> Encoding:
    """Colour, dashes and points of a field of kinds, whose legend names them once.

    The legend shows colours and points, and dashes alone where the kinds have no points: both would make broken points.
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
    """The chart at a column's width, all that belongs to it within; a frame around the data stands for the axes."""
    return (
        chart.properties(width=width, height=height, autosize={"type": "fit", "contains": "padding"}, padding=1)
        .configure_axis(
            labelFontSize=FONT, titleFontSize=FONT, titleFontWeight="normal", titlePadding=6, gridOpacity=0.4,
            gridWidth=0.5, tickSize=3, tickWidth=0.5, domain=False, labelPadding=2, tickColor=_GREY,
        )
        .configure_legend(
            labelFontSize=FONT, titleFontSize=FONT, titleFontWeight="normal", rowPadding=1, columnPadding=6,
            offset=4, padding=0, titlePadding=2,
        )
        .configure_title(fontSize=SMALL, fontWeight="normal", anchor="start", offset=5, lineHeight=7.5)
        .configure_view(stroke=_GREY if framed else None, strokeWidth=0.5)
    )  # fmt: skip


# A point beyond an axis stands at its end as an arrow that points out, in the colour of its kind.
_ARROWS = {
    "below": ("M0,-1.6L0,1.6M-0.9,0.6L0,1.6L0.9,0.6", 0, -4),
    "above": ("M0,1.6L0,-1.6M-0.9,-0.6L0,-1.6L0.9,-0.6", 0, 4),
    "right": ("M-1.6,0L1.6,0M0.6,-0.9L1.6,0L0.6,0.9", -4, 0),
}
ROOM = 2.5  # a logarithmic axis goes on by this factor, so that arrows at its end meet no point
BEYOND = "an arrow at the end of an axis is a point beyond it"


def beyond(chart: Any, colour: Any, kinds: Sequence[str], apart: float = 3.0) -> list[Any]:
    """Layers of the points whose field ``beyond`` names a side, each kind ``apart`` from the next, to hide none."""
    layers = []
    for side, (shape, x, y) in _ARROWS.items():
        for i, kind in enumerate(kinds):
            aside = apart * (i - (len(kinds) - 1) / 2)
            place = {"xOffset": x + (0 if x else aside), "yOffset": y + (0 if y else aside)}
            of_kind = f"datum.beyond == '{side}' && datum.kind == {json.dumps(LINES[kind].name)}"
            marks = chart.transform_filter(of_kind).mark_point(
                shape=shape, size=16, strokeWidth=0.9, opacity=1, **place
            )
            layers.append(marks.encode(color=colour))
    return layers


def powers(values: Sequence[float], last: str | None = None) -> Ticks:
    """An axis with ticks at powers of ten; ``last`` is what the last one is called instead.

    The font that figures are drawn with has no superscripts beyond the cube.
    """
    exponents = [round(math.log10(value)) for value in values]
    names = {str(e): f"{10.0**e:g}" if abs(e) <= 3 else f"1e{e}" for e in exponents}
    if last is not None:
        names[str(exponents[-1])] = last
    return {"values": list(values), "labelExpr": f"{names}[round(log(datum.value) / LN10)]"}


def decades(low: float, high: float, most: int = 6) -> list[float]:
    """Powers of ten between two numbers, evenly taken, and no more than so many."""
    first, end = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**e for e in range(first, end + 1, max(1, math.ceil((end - first + 1) / most)))]


def slug(words: str) -> str:
    """Words as a part of a file's name."""
    plain = re.sub(r"[^A-Za-z0-9.+]+", "-", words).strip("-.") or "x"
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 11]}-{digest(plain.encode())[:10]}"


def shortened(name: str, most: int, end: int | None = None) -> str:
    """A name of at most so many characters on one line; the end, where options are, is kept as well as the start."""
    whole = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(whole) <= most:
        return whole
    end = most // 3 if end is None else end
    return f"{whole[: most - end - 1]}…{whole[len(whole) - end :]}"


def distinct(names: Sequence[str], most: int) -> list[str]:
    """Names, no two alike, each `shortened`: keeping more of the end where two would be the same, or numbered at last.

    An axis or a key of shortened names needs this: two names that become one would be drawn over each other.
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
