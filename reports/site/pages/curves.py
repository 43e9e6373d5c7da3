"""The page of error curves, to be explored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from ....core.formats import DTYPES
from ...tables.curves import QUANTITIES, axes
from ...tables.sections import Section
from .. import _charts as charts
from .._site import Site, WebPage
from .._slugs import slugs


class Axis(NamedTuple):
    """The curves along one axis: a picture, the data of the script that draws them anew, and files with the numbers."""

    id: str
    name: str
    data: Markup
    alt: str
    downloads: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class CurvesPage(WebPage):
    """What ``curves.html`` is given."""

    template: ClassVar[str] = "curves.html"
    axes: Sequence[Axis]


def curves_page(site: Site, sections: Mapping[str, Section], out: Path) -> CurvesPage:
    """The page; pictures and the library that draws are written into ``out``."""
    found = [_axis(site, axis, sections, out) for axis in axes(site.report.source)]
    if any(found):
        (out / "assets" / "vega.js").write_text(charts.library(), encoding="utf-8")
    return CurvesPage(
        file="curves.html",
        title="Error curves",
        lede="The largest error at each value of an axis: scale multiplies the logits, offset is added to all of "
        "them, gap is the lead of the largest, classes is their number. The same normal numbers stand behind all "
        "values. Dashed: what rounding error analysis promises.",
        axes=[axis for axis in found if axis is not None],
        explores=any(found),
        nothing="No run of this report has a sweep. A run that names no case has small ones in float32 and bfloat16, "
        "logitlab run --sweep offset=0.1:1e6:40log makes a fine one, and logitlab report puts several runs together.",
    )


def _axis(site: Site, axis: str, sections: Mapping[str, Section], out: Path) -> Axis | None:
    lines = charts.points(site.report.source, axis)
    dtypes = [d for d in DTYPES if d in set(lines["dtype"])]
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
    """Points with places in the list of names: a name would take most of their size."""
    place = {name: i for i, name in enumerate(names)}
    return [(place[p.implementation], place[p.kind], p.x, p.y) for p in points]
