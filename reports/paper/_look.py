"""How figures look: sizes in points, so that a figure set at its own width has fonts of the size named here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...errors import UsageError
from ...files import digest
from .._palette import FORMULA_COLOURS

if TYPE_CHECKING:
    import altair as alt

WIDTH = 238  # points: 3.3 inches, a column of a two-column page
FONT, SMALL = 7, 6
LONGEST = 60  # of a part of a file's name
CHARACTER = 0.52  # a character's mean width over the font's size
_BLACK = "#000000"
_MODULES = {"vl-convert-python": "vl_convert"}  # of the packages that bear another name


@dataclass(frozen=True)
class Figure:
    """A chart, with the numbers behind it. ``title`` is what a caption says of it."""

    name: str
    title: str
    chart: alt.LayerChart
    numbers: pd.DataFrame


@dataclass(frozen=True)
class Line:
    """A kind of line: its name in the legend, its colour, its dashes and its points."""

    name: str
    colour: str
    dashes: tuple[float, ...]
    point: str


_STROKE = "M-1,0L1,0"
LINES = {
    "naive": Line("naive", FORMULA_COLOURS["naive"], (1, 0), "cross"),
    "lse": Line("lse", FORMULA_COLOURS["lse"], (5, 2), "square"),
    "log1p": Line("log1p", FORMULA_COLOURS["log1p"], (2, 1), "triangle-up"),
    "builtin": Line("built-in", FORMULA_COLOURS["builtin"], (6, 2, 1, 2), "circle"),
    "bound_shifted": Line("bound, shifted", _BLACK, (1, 0), _STROKE),
    "bound_unshifted": Line("bound, unshifted", _BLACK, (1, 1.5), _STROKE),
}


def needed(what: str, *packages: str) -> None:
    """UsageError where a package of the extra ``report`` is not installed."""
    missing = [package for package in packages if not find_spec(_MODULES.get(package, package))]
    if missing:
        raise UsageError(f"{what} {' and '.join(missing)}: pip install 'logitlab[report]'")


def encoded(kinds: Sequence[str], columns: int) -> dict[str, Any]:
    """Colour, dashes and points of the field ``kind``, whose legend names them once."""
    import altair as alt  # noqa: PLC0415 - an extra

    lines = [LINES[k] for k in LINES if k in kinds]
    names = [line.name for line in lines]
    legend = alt.Legend(orient="top", columns=columns, symbolSize=40, symbolStrokeWidth=1, title=None, labelLimit=120)
    return {
        "color": alt.Color("kind:N", legend=legend).scale(domain=names, range=[line.colour for line in lines]),
        "strokeDash": alt.StrokeDash("kind:N", legend=legend).scale(
            domain=names, range=[list(line.dashes) for line in lines]
        ),
        "shape": alt.Shape("kind:N", legend=legend).scale(domain=names, range=[line.point for line in lines]),
    }


def laid_out(chart: Any, height: float) -> Any:
    """The chart at a column's width, all that belongs to it within."""
    return (
        chart.properties(width=WIDTH, height=height, autosize={"type": "fit", "contains": "padding"}, padding=1)
        .configure_axis(
            labelFontSize=FONT, titleFontSize=FONT, titleFontWeight="normal", titlePadding=3, gridOpacity=0.4,
            gridWidth=0.5, tickSize=3, tickWidth=0.5, domainWidth=0.5, labelPadding=2, tickColor="#555555",
            domainColor="#555555",
        )
        .configure_legend(
            labelFontSize=FONT, titleFontSize=FONT, titleFontWeight="normal", rowPadding=1, columnPadding=6,
            offset=4, padding=0,
        )
        .configure_view(stroke="#888888", strokeWidth=0.5)
    )  # fmt: skip


def powers(values: Sequence[float], last: str | None = None) -> dict[str, Any]:
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


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters on one line; the end, where options are, is kept as well as the start."""
    whole = " ".join(name.split())
    if len(whole) <= most:
        return whole
    end = most // 3
    return f"{whole[: most - end - 1]}…{whole[-end:]}"
