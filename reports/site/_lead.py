"""The picture of the first page: the formulas and a built-in loss of one framework along an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ...core.formats import get_format
from ...core.vocabulary import FORMULAS, Formula, Verdict
from ...storage.querying import Measurements, quoted
from ..charts.palette import FORMULA_COLOURS
from ..charts.style import decades, powers, shortened
from ..tables.curves import BOUNDS, PREFIX, axes, bounds_along, curve, drawable
from ..tables.grades import Column
from . import _charts as charts

FILE = "lead.svg"
AXES = {
    "offset": ("Add a constant to every logit", "constant that is added to every logit"),
    "scale": ("Multiply every logit", "factor of every logit"),
    "gap": ("Let the largest logit lead", "lead of the largest logit"),
    "classes": ("Add classes", "classes"),
}
PREFERRED = "torch"  # if several frameworks have the most formulas
MIN_VALUES = 3  # of an axis, to draw a line
MAX_NAME = 40  # characters
RIGHT = 16.0  # ulp: an error up to here is a few roundings
WRONG = 100.0  # ulp: a larger error loses digits
WIDTH, HEIGHT = 480, 400  # pixels of the plot
FONT, LINE, SPARE = 13, 16, 2.5  # of the labels: pixels, a line's height, and extra width of a character in other fonts
DARKER = 0.7  # for words in a line's colour: a contrast of at least 4.5 to 1
CROSS = "M-1,-1L1,1M-1,1L1,-1"  # where a loss ends
_GIVEN = {Verdict.NAN: "NaN", Verdict.OVERFLOW: "infinite", Verdict.UNDERFLOW: "0"}


class Picture(NamedTuple):
    """The picture: its title, which states the finding, its caption, its description, and its file in ``charts``."""

    title: str
    caption: str
    alt: str
    file: str = FILE


class Line(NamedTuple):
    """A loss along the axis: its name, its formula, and a point (x, ulp) for each value.

    The points end before the first value at which the loss is not finite; ``broken`` names its value there.
    """

    name: str
    formula: Formula
    points: Sequence[tuple[float, float]]
    broken: str

    @property
    def largest(self) -> float:
        return max((y for _, y in self.points), default=0.0)

    @property
    def label(self) -> str:
        """The text beside the line."""
        if self.broken:
            return f"{self.name}: {self.broken}"
        rounded = float(f"{self.largest:.2g}")
        return f"{self.name}: {rounded:g} ulp" if rounded < WRONG else f"{self.name}: {rounded:,.0f} ulp"


def lead(found: Measurements, reference: Column | None, out: Path) -> Picture | None:
    """Draw the picture into ``out/charts``; return None if no run has a sweep in the reference's dtype and mode."""
    if reference is None:
        return None
    for axis in (a for a in AXES if a in axes(found)):
        table = curve(found, axis, "loss").assign(error=drawable)
        of_reference = (table[["dtype", "mode", "device"]] == list(reference)).all(axis="columns")
        table = table[of_reference & (table[axis] > 0)].dropna(subset="error")
        if table[axis].nunique() < MIN_VALUES:
            continue
        framework, names = _shown(found, list(pd.unique(table["implementation"])))
        lines = [_line(found, reference, axis, table, name, formula) for name, formula in names.items()]
        if any(line.points for line in lines):
            return _picture(found, reference, axis, framework, lines, out)
    return None


def _picture(
    found: Measurements, reference: Column, axis: str, framework: str, lines: Sequence[Line], out: Path
) -> Picture:
    bounds = bounds_along(found, axis)
    bounds = bounds[(bounds["dtype"] == reference.dtype) & (bounds[axis] > 0)]
    charts.write_svg(_drawn(lines, bounds, axis, reference.dtype), out, FILE)
    return Picture(
        f"{AXES[axis][0]}: {_found(lines)}",
        f"Largest error of losses of {framework} in {reference.label}. An ulp is the spacing of numbers at the exact "
        "loss: a correctly rounded loss is off by at most 0.5 ulp, and no digit is right at "
        f"{1 / get_format(reference.dtype).unit_roundoff:,.0f} ulp. Dashed: the bound of rounding error analysis.",
        f"Error of the loss in ulp along the {axis}, on logarithmic axes. {'; '.join(line.label for line in lines)}.",
    )


def _shown(found: Measurements, there: Sequence[str]) -> tuple[str, dict[str, Formula]]:
    """The framework with the most formulas, and its first loss of each formula."""
    formula = found.cells.drop_duplicates("implementation").set_index("implementation")["formula"]
    frameworks: dict[str, dict[str, Formula]] = {}
    for name in there:
        of_framework = frameworks.setdefault(name.partition("/")[0], {})
        if formula[name] in FORMULAS and formula[name] not in of_framework.values():
            of_framework[name] = Formula(formula[name])
    best = max(frameworks, key=lambda f: (len(frameworks[f]), f == PREFERRED), default="")
    return best, frameworks.get(best, {})


def _line(found: Measurements, reference: Column, axis: str, table: pd.DataFrame, name: str, formula: Formula) -> Line:
    of_name = table[table["implementation"] == name].sort_values(axis)
    points = list(zip(of_name[axis].to_list(), of_name["error"].to_list(), strict=True))
    finite = list(takewhile(lambda point: point[1] < math.inf, points))
    short, rest = shortened(name, MAX_NAME), points[len(finite) :]
    if not rest:
        return Line(short, formula, finite, "")
    verdicts = found.sql(
        f"""SELECT DISTINCT verdict FROM measurements WHERE family = {quoted(f"{PREFIX}{axis}")} AND grade = 'F'
        AND quantity = 'loss' AND implementation = {quoted(name)} AND {reference.condition}"""
    )["verdict"].to_list()
    given = _GIVEN.get(verdicts[0], "not finite") if len(verdicts) == 1 else "not finite"
    stays = all(error == math.inf for _, error in rest)
    return Line(short, formula, finite, f"{given} {'from' if stays else 'at'} {rest[0][0]:,g}{' on' * stays}")


def _found(lines: Sequence[Line]) -> str:
    """The finding of the lines, in one sentence."""
    breaks = [line.name for line in lines if line.broken]
    loses = [line.name for line in lines if not line.broken and line.largest >= WRONG]
    holds = [line.name for line in lines if not line.broken and line.largest <= RIGHT]
    said = ((breaks, "breaks", "break"), (loses, "loses digits", "lose digits"), (holds, "stays right", "stay right"))
    parts = [f"{_and(names)} {one if len(names) == 1 else many}" for names, one, many in said if names]
    return ", ".join(parts) or "the error of the loss"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + [*names[-1:]])


class Label(NamedTuple):
    """Coloured words: beside the end of a line that ends at the right, below a line that ends earlier."""

    words: str
    colour: str
    x: float
    y: float
    at_end: bool


def _drawn(lines: Sequence[Line], bounds: pd.DataFrame, axis: str, dtype: str) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    top = charts.NOTHING_RIGHT / get_format(dtype).unit_roundoff
    values = [x for line in lines for x, _ in line.points] + bounds[axis].to_list()
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= charts.LOGARITHMIC
    x = alt.X("x:Q", title=f"{AXES[axis][1]}{' (log scale)' * logarithmic}")
    x = x.scale(type="log" if logarithmic else "linear", domain=[low, high], nice=False)
    x = x.axis(grid=False, **(powers(decades(low, high, most=8)) if logarithmic else {"format": "~g"}))
    y = alt.Y("y:Q", title="largest error of the loss, ulp (log scale)")
    y = y.scale(type="log", domain=[charts.FLOOR, top], nice=False).axis(**powers(decades(charts.FLOOR, top, most=8)))

    def layer(points: Sequence[tuple[float, float]], **fields: str) -> Any:
        drawn = [{"x": a, "y": min(max(b, charts.FLOOR), top), **fields} for a, b in points]
        return alt.Chart(pd.DataFrame(drawn)).encode(x=x, y=y)

    layers: list[Any] = []
    crosses: list[Any] = []
    labels: list[Label] = []
    promised = [[(a, b) for a, b in zip(bounds[axis], bounds[name], strict=True) if b <= top] for name in BOUNDS]
    dashed = {"color": charts.BOUND, "strokeWidth": 1.2, "strokeDash": [4, 3], "opacity": 0.7}
    layers += [layer(points).mark_line(**dashed) for points in promised if points]
    if any(promised):
        x_last, y_last = max(points[-1] for points in promised if points)
        labels.append(Label("a-priori bound", charts.BOUND, x_last, y_last, at_end=x_last == high))
    for line in lines:
        if not line.points:
            continue
        colour = FORMULA_COLOURS[line.formula]
        layers.append(layer(line.points).mark_line(color=colour, strokeWidth=2.5))
        if line.broken:
            last = layer(line.points[-1:])
            crosses.append(last.mark_point(shape=CROSS, size=90, strokeWidth=3, color=colour, opacity=1))
        labels.append(Label(line.label, colour, *line.points[-1], at_end=not line.broken))
    for label in _apart(labels, top):
        aside = {"dx": 9} if label.at_end else {"dx": -3, "dy": 1.1 * LINE}
        written = layer([(label.x, label.y)], words=label.words).encode(text="words:N")
        layers.append(
            written.mark_text(align="left", fontSize=FONT, fontWeight="bold", color=_dark(label.colour), **aside)
        )
    # The reader's font may be wider than the font that this layout assumes.
    spare = SPARE * max(len(label.words) for label in labels)
    return charts.dressed(alt.layer(*layers, *crosses).properties(width=WIDTH, height=HEIGHT), spare)


def _dark(colour: str) -> str:
    """A darker colour, legible as text on white."""
    return "#" + "".join(f"{int(int(colour[i : i + 2], 16) * DARKER):02x}" for i in (1, 3, 5))


def _apart(labels: Sequence[Label], top: float) -> list[Label]:
    """The labels at the right end, moved up so that none covers another."""
    decade = HEIGHT / (math.log10(top) - math.log10(charts.FLOOR))
    moved = [label for label in labels if not label.at_end]
    least = -math.inf
    for label in sorted((one for one in labels if one.at_end), key=lambda one: one.y):
        at = max(math.log10(max(label.y, charts.FLOOR)) * decade, least)
        least = at + LINE
        moved.append(label._replace(y=10 ** (at / decade)))
    return moved
