"""The chart of a demo: accuracy against learning rate, with a panel for each framework, model and dtype."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...core.errors import UsageError
from ...core.files import refuse_existing, refuse_links
from ...core.vocabulary import Formula
from ...reports.charts.palette import FORMULA_COLOURS

if TYPE_CHECKING:
    import altair as alt

FILES = ("training.csv", "training.svg", "training.png")
# The name, colour and dashes of each formula.
_LOSSES = {
    f.value: (f.label + " (NumPy)" * (f is Formula.LOG1P), FORMULA_COLOURS[f], dashes)
    for f, dashes in (
        (Formula.NAIVE, [1, 0]), (Formula.LSE, [6, 3]), (Formula.BUILTIN, [2, 2]), (Formula.LOG1P, [2, 2])
    )
}  # fmt: skip
# Points at one rate are drawn side by side, as factors on the logarithmic axis. Runs that ended early have no useful
# accuracy; each formula has a row for them below the axis.
_BESIDE = {"naive": 0.82, "lse": 1.0, "builtin": 1.22, "log1p": 1.22}
_LANES = {"naive": -0.12, "lse": -0.25, "builtin": -0.38, "log1p": -0.38}
_BAND = (-0.46, -0.04)
_FINITE, _DEAD = "weights finite to the end", "weights not finite from this step on; no accuracy"
_CROSS = "M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8"


def prepare(out: Path) -> None:
    """Check before the training that `write` will succeed.

    Raises:
        UsageError: if altair or vl-convert-python is not installed, ``out`` is a file, or it has one of the files.
    """
    missing = [p for p, module in (("altair", "altair"), ("vl-convert-python", "vl_convert")) if not find_spec(module)]
    if missing:
        raise UsageError(f"the chart needs {' and '.join(missing)}; install with `pip install 'logitlab[report]'`")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder as --out")
    refuse_links(out)
    for name in FILES:
        refuse_existing(out / name, "folder")


def write(table: pd.DataFrame, out: Path) -> list[Path]:
    """Write ``training.csv``, ``training.svg`` and ``training.png`` to a folder, and return their paths.

    Raises:
        UsageError: as in `prepare`.
    """
    prepare(out)
    out.mkdir(parents=True, exist_ok=True)
    csv, svg, png = (out / name for name in FILES)
    table.to_csv(csv, index=False)
    drawn = chart(table)
    drawn.save(svg)
    drawn.save(png, scale_factor=2)
    return [csv, svg, png]


def chart(table: pd.DataFrame) -> alt.FacetChart:
    """Return the chart of a table of `train_demo`: a row for each framework, a column for each model and dtype."""
    import altair as alt  # noqa: PLC0415 - an extra

    runs = _drawn(table)
    present = [f for f in _LOSSES if f in set(table["formula"])]
    names, colours, dashes = (list(v) for v in zip(*(_LOSSES[f] for f in present), strict=True))
    top: dict[str, Any] = {"orient": "top", "labelLimit": 300}
    ticks = alt.Axis(values=sorted(table["learning_rate"].unique()), format="~g", labelOverlap="greedy")
    x = alt.X("beside:Q", title="learning rate (log)", axis=ticks).scale(type="log", nice=False, padding=12)
    y = (
        alt.Y("height:Q", title="accuracy")
        .scale(domain=[_BAND[0], 1], nice=False)
        .axis(values=[0, 0.25, 0.5, 0.75, 1], format=".0%")
    )
    colour = alt.Color("loss:N", title="loss").scale(domain=names, range=colours)
    colour = colour.legend(**top, symbolType="stroke", symbolSize=200, symbolStrokeWidth=2)
    dash = alt.StrokeDash("loss:N", title="loss").scale(domain=names, range=dashes)
    shape = alt.Shape("outcome:N", title="weights").scale(domain=[_FINITE, _DEAD], range=["circle", _CROSS])
    shape = shape.legend(**top, symbolSize=100, symbolStrokeColor="black")

    base = alt.Chart().encode(x=x, y=y, color=colour)
    band = alt.Chart().mark_rect(color="#eeeeee").encode(y=alt.datum(_BAND[0]), y2=alt.datum(_BAND[1]))
    chance = alt.Chart().mark_rule(color="#999999", strokeWidth=0.7).encode(y=alt.datum(0.1))
    lines = base.mark_line(strokeWidth=1.2, opacity=0.7).encode(y="kept_accuracy:Q", strokeDash=dash)
    points = base.mark_point(size=36, strokeWidth=1.8, filled=False).encode(shape=shape)
    steps = base.mark_text(align="left", dx=6, fontSize=9).encode(text="weights_step:Q")
    steps = steps.transform_filter(alt.datum.outcome == _DEAD)
    columns = [f"{m}, {d}" for m, d in table[["model", "dtype"]].drop_duplicates().itertuples(index=False)]
    title = alt.TitleParams(
        "Which loss survives a rising learning rate",
        subtitle=[
            "Accuracy on 450 held-out digits after plain gradient descent, all in the dtype named; grey line: chance.",
            "In the grey band, the runs that ended early: a cross and the step at which a weight stopped being finite.",
        ],
        anchor="start",
    )
    drawn: alt.FacetChart = (
        alt.layer(band, chance, lines, points, steps, data=runs)
        .properties(width=230, height=130)
        .facet(
            row=alt.Row("framework:N", title=None, sort=list(table["framework"].unique())),
            column=alt.Column("panel:N", title=None, sort=columns),
        )
        .properties(title=title)
        .configure_axis(grid=True, gridOpacity=0.4)
        .configure_header(labelFontSize=12, labelFontWeight="bold")
        .configure_view(stroke="#cccccc")
    )
    return drawn


def _drawn(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with a result, and the values to draw."""
    runs = table[table["fault"].isna()].copy()
    died = runs["weights_step"].notna()
    runs["panel"] = runs["model"] + ", " + runs["dtype"]
    runs["loss"] = runs["formula"].map(lambda f: _LOSSES[f][0])
    runs["outcome"] = np.where(died, _DEAD, _FINITE)
    runs["beside"] = runs["learning_rate"] * np.where(died, 1.0, runs["formula"].map(_BESIDE))
    runs["kept_accuracy"] = runs["accuracy"].where(~died)  # a line is interrupted at a missing value
    runs["height"] = np.where(died, runs["formula"].map(_LANES), runs["accuracy"])
    kept = ["framework", "panel", "loss", "outcome", "beside", "height", "kept_accuracy", "weights_step"]
    return runs[kept].astype({"weights_step": "float64"})
