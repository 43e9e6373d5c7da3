"""The page of error curves, with choices of dtype and quantity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from ....core.formats import in_table_order
from ...tables.curves import QUANTITIES, axes
from ...tables.sections import Section
from .. import _charts as charts
from .._site import Site, WebPage
from .._slugs import slugs


class Axis(NamedTuple):
    """The curves along one axis: a picture, the data for the script that redraws them, and files with the numbers."""

    id: str
    name: str
    data: Markup
    alt: str
    downloads: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class CurvesPage(WebPage):
    """The values of ``curves.html``."""

    template: ClassVar[str] = "curves.html"
    axes: Sequence[Axis]


def curves_page(site: Site, sections: Mapping[str, Section], out: Path) -> CurvesPage:
    """Return the page, and write its pictures and the drawing library into ``out``."""
    found = [_axis(site, axis, sections, out) for axis in axes(site.report.source)]
    if any(found):
        (out / "assets" / "vega.js").write_text(charts.library(), encoding="utf-8")
    return CurvesPage(
        file="curves.html",
        title="Error curves",
        lede="The largest error at each value of an axis. Scale multiplies the logits, offset is added to all of them, "
        "gap is the lead of the largest logit, and classes is their number. All values use the same normal random "
        "numbers. Dashed: the bound of rounding error analysis.",
        axes=[axis for axis in found if axis is not None],
        explores=any(found),
        nothing="No run of this report has a sweep. logitlab run has small sweeps unless it names cases. For a fine "
        "sweep, use logitlab run --sweep offset=0.1:1e6:40log, then report both runs together.",
    )


def _axis(site: Site, axis: str, sections: Mapping[str, Section], out: Path) -> Axis | None:
    lines = charts.points(site.report.source, axis)
    dtypes = in_table_order(lines["dtype"])
    if not dtypes:
        return None
    dtype = "float32" if "float32" in dtypes else dtypes[0]
    names = list(pd.unique(pd.concat([lines["implementation"], lines["kind"]])))
    (name,) = slugs([axis]).values()
    chart = charts.with_points(charts.curves(lines, axis, dtype, "loss", 760), charts.drawn(lines, dtype, "loss"))
    charts.write_svg(chart, out, f"curve-{name}.svg")
    views = {
        f"{d} {q}": {
            "spec": charts.curves(lines, axis, d, q, "container").to_dict(),
            "points": _coded(charts.drawn(lines, d, q), names),
        }
        for d in dtypes
        for q in QUANTITIES
    }
    data = {
        "pick": {"dtype": dtypes, "quantity": list(QUANTITIES)},
        "start": {"dtype": dtype, "quantity": "loss"},
        "names": names,
        "views": views,
    }
    files = slugs(sections)
    return Axis(
        id=name,
        name=axis,
        data=htmlsafe_json_dumps(data, separators=(",", ":")),
        alt=f"Largest error of the loss along the {axis}, in {dtype}, a line for each implementation.",
        downloads=[f"{files[s]}.csv" for s in sections if s.startswith(f"curve_{axis}_")],
    )


def _coded(points: Sequence[charts.Point], names: Sequence[str]) -> list[tuple[int, int, float, float]]:
    """Points with places in the list of names, since names would take most of the size."""
    place = {name: i for i, name in enumerate(names)}
    return [(place[p.implementation], place[p.kind], p.x, p.y) for p in points]
