"""The pages of a site, and what each is filled with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2.utils import htmlsafe_json_dumps

from ...core.formats import DTYPES
from ..paper._bounds import figures as bound_figures
from ..tables import curves as _curves
from ..tables.sections import Section
from . import _charts as charts
from ._case_pages import case_pages
from ._downloads import download_measurements, download_tables
from ._grids import Grid, grid
from ._heats import BINS, heats
from ._implementation_pages import implementation_pages
from ._names import slugs
from ._overview import overview
from ._provenance import provenance
from ._site import Site

NAVIGATION = (
    ("index.html", "Overview"),
    ("grades.html", "Grades"),
    ("cases.html", "Cases"),
    ("finiteness.html", "Finiteness"),
    ("errors.html", "Errors"),
    ("curves.html", "Curves"),
    ("modes.html", "Modes"),
    ("devices.html", "Devices"),
    ("agreement.html", "Agreement"),
    ("bounds.html", "Bounds"),
    ("faults.html", "Not measured"),
    ("provenance.html", "Provenance"),
    ("data.html", "Data"),
)
# The sections of a report that have a page of their own; any other is on the page of errors.
ELSEWHERE = (
    "grades", "finiteness", "modes", "devices", "agreement", "pairs", "faults", "invalid", "ignored", "stability",
)  # fmt: skip


@dataclass(frozen=True)
class WebPage:
    """A page before it is written: its file, its template, and what fills it."""

    file: str
    template: str
    contents: dict[str, Any]


def pages(site: Site, out: Path) -> Iterator[WebPage]:
    """All pages; pictures and downloads are written into ``out`` on the way."""
    sections = {s.name: s for s in site.found.sections}
    yield WebPage("index.html", "index.html", overview(site))
    yield _grades(site, sections)
    yield WebPage("cases.html", "tables.html", _cases(site))
    yield WebPage("finiteness.html", "finiteness.html", _finiteness(site, sections))
    yield _errors(site, sections)
    yield WebPage("curves.html", "curves.html", _curve_page(site, sections, out))
    yield _side(site, sections, out, "modes", "Eager against compiled", "Measure another with --mode compiled")
    yield _side(site, sections, out, "devices", "CPU against accelerator", "Measure on a machine with an accelerator")
    yield _agreement(site, sections, out)
    yield _bounds(site, sections, out)
    yield _faults(site, sections)
    yield WebPage(
        "provenance.html",
        "provenance.html",
        {
            "title": "Provenance",
            "lede": "What was run, with which versions, on which hardware, by which command: every number of this "
            "report comes from these runs.",
            "manifests": [(m.run, provenance(m)) for m in site.found.manifests],
        },
    )
    yield _data(site, out)
    for file, contents in case_pages(site):
        yield WebPage(file, "case.html", contents)
    for file, contents in implementation_pages(site):
        yield WebPage(file, "implementation.html", contents)


def _tables(
    file: str, title: str, lede: str, grids: list[Grid], *, nothing: str = "",
    pictures: list[dict[str, Any]] | None = None, with_legend: bool = False,
) -> WebPage:  # fmt: skip
    """A page of tables, below pictures."""
    contents = {
        "title": title, "lede": lede, "grids": grids, "pictures": pictures or [], "with_legend": with_legend,
        "nothing": nothing or "The run has nothing for this page.",
    }  # fmt: skip
    return WebPage(file, "tables.html", contents)


def _of_section(site: Site, section: Section | None, **options: Any) -> list[Grid]:
    """The table of a section with its title and note, unless others are given."""
    if section is None:
        return []
    words = {"title": section.title, "note": section.note}
    return [grid(section.name, section.table, links=site.links(""), **(words | options))]


def _grades(site: Site, sections: dict[str, Section]) -> WebPage:
    return _tables(
        "grades.html",
        "Grades",
        "The worst grade of each implementation over all cases, rows and quantities, in each mode and on each device. "
        "A letter leads to the case that caused it.",
        _of_section(site, sections.get("grades"), title="", note=""),
        with_legend=True,
    )


def _cases(site: Site) -> dict[str, Any]:
    told = site.found.cases.drop_duplicates("case").set_index("case")
    graded = site.worst[site.worst["grade"].notna()]
    lines = graded.assign(F=graded["grade"] == "F", dtype=graded["dtype"].astype(object))
    broken = lines.groupby(["case", "dtype"], observed=True, sort=False)["F"].sum().unstack("dtype")
    table = site.worst[["case", "family"]].drop_duplicates("case").astype(object).set_index("case")
    for name in ("why", "source"):
        if told[name].notna().any():
            table[name] = told[name].reindex(table.index)
    for dtype in DTYPES:
        if dtype in broken:
            table[f"F in {dtype}"] = broken[dtype].reindex(table.index).astype("Int64")
    made = grid("cases", table.reset_index(), links=site.links(""))
    return {
        "title": "Cases",
        "lede": f"{len(table):,} cases, and how many implementations are F on each, in any mode and on any device.",
        "grids": [made] if len(table) else [],
        "pictures": [],
        "with_legend": False,
        "nothing": "The run has no case.",
    }


def _finiteness(site: Site, sections: dict[str, Section]) -> dict[str, Any]:
    return {
        "title": "Finiteness",
        "lede": "Percent of the graded rows that are F: NaN or infinite where the exact answer is a number, or a "
        "number where it is not. Families of cases stand across, losses down; a number leads to the cases behind it.",
        "heats": heats(site),
        "bins": list(BINS),
        "nothing": "Nothing could be graded.",
        "grids": _of_section(site, sections.get("finiteness")),
    }


def _errors(site: Site, sections: dict[str, Section]) -> WebPage:
    here = [s for n, s in sections.items() if n not in ELSEWHERE and not n.startswith(("bounds_", "curve_"))]
    return _tables(
        "errors.html",
        "Errors",
        "How far the results are from the exact answer, in ulp of the dtype: the spacing of its numbers there. "
        "A correctly rounded result is off by at most a half.",
        [made for s in here for made in _of_section(site, s)],
    )


def _curve_page(site: Site, sections: dict[str, Section], out: Path) -> dict[str, Any]:
    found = [_axis(site, axis, sections, out) for axis in _curves.axes(site.found.source)]
    if any(found):
        (out / "assets" / "vega.js").write_text(charts.library(), encoding="utf-8")
    return {
        "title": "Error curves",
        "lede": "The largest error at each value of an axis: scale multiplies the logits, offset is added to all of "
        "them, gap is the lead of the largest, classes is their number. The same normal numbers stand behind all "
        "values. Dashed: what rounding error analysis promises.",
        "axes": [axis for axis in found if axis is not None],
        "explores": any(found),
        "nothing": "No run of this report has a sweep. logitlab run --sweep offset=0.1:1e6:40log makes one, and "
        "logitlab report puts several runs together.",
    }


def _axis(site: Site, axis: str, sections: dict[str, Section], out: Path) -> dict[str, Any] | None:
    lines = charts.points(site.found.measurements, axis)
    dtypes = [d for d in DTYPES if d in set(lines["dtype"])]
    if not dtypes:
        return None
    dtype = "float32" if "float32" in dtypes else dtypes[0]
    names = list(pd.unique(pd.concat([lines["implementation"], lines["kind"]])))
    (name,) = slugs([axis]).values()
    file = f"curve-{name}.svg"
    points = charts.drawn(lines, dtype, "loss")
    _picture(charts.with_points(charts.curves(lines, axis, dtype, "loss", 760), points), out, file)
    views = {
        f"{d} {q}": {
            "spec": charts.curves(lines, axis, d, q, "container").to_dict(),
            "points": _coded(charts.drawn(lines, d, q), names),
        }
        for d in dtypes
        for q in _curves.QUANTITIES
    }
    data = {
        "pick": {"dtype": dtypes, "quantity": list(_curves.QUANTITIES)},
        "start": {"dtype": dtype, "quantity": "loss"},
        "names": names,
        "views": views,
    }
    kept = slugs(s for s in sections)
    return {
        "id": name, "name": axis, "file": file, "data": htmlsafe_json_dumps(data, separators=(",", ":")),
        "alt": f"Largest error of the loss along the {axis}, in {dtype}, a line for each implementation.",
        "note": "Point at a line to see whose it is. Errors below 0.05 ulp, exact results too, are drawn there.",
        "downloads": [f"{kept[s]}.csv" for s in sections if s.startswith(f"curve_{axis}_")],
    }  # fmt: skip


def _coded(points: list[list[Any]], names: list[str]) -> list[list[Any]]:
    """Points with places in the list of names: a name would take most of their size."""
    place = {name: i for i, name in enumerate(names)}
    return [[place[name], place[kind], x, y] for name, kind, x, y in points]


def _side(site: Site, sections: dict[str, Section], out: Path, name: str, title: str, advice: str) -> WebPage:
    """Modes against eager, or devices against the CPU."""
    section, column = sections.get(name), name.removesuffix("s")
    pictures = []
    if section is not None:
        _picture(charts.differences(section.table, column), out, f"{name}.svg")
        pictures.append(
            {"file": f"{name}.svg", "title": f"{section.title}: share of rows with other bits", "width": None}
        )
    return _tables(
        f"{name}.html",
        title,
        "The same rows, bit for bit: how many results differ, in how many of those the grade is worse or better, and "
        "how far two losses lie apart, in ulp.",
        _of_section(site, section, title="", note=""),
        pictures=pictures,
        nothing=f"The runs of this report have one {column} alone. {advice}, and put the runs together: "
        "logitlab report RUN RUN --format html.",
    )


def _agreement(site: Site, sections: dict[str, Section], out: Path) -> WebPage:
    pairs = sections.get("pairs")
    pictures = []
    dtype = site.cell.get("dtype", "")
    if pairs is not None and len(pairs.table[(pairs.table["dtype"] == dtype) & (pairs.table["rows"] > 0)]):
        _picture(charts.equal_losses(pairs.table, dtype), out, "agreement.svg")
        title = f"Rows on which two implementations give the same loss in every bit, {dtype}, eager"
        pictures.append({"file": "agreement.svg", "title": title, "width": None})
    note = "Of each case and dtype, eager, the row whose finite losses lie farthest apart: how many answers there are, "
    note += "who gave the lowest and the highest, and how many gave none that is finite; the downloads name them."
    grids = _of_section(site, _counted(sections.get("agreement")), note=note, order=[("apart", "desc")])
    if pairs is not None:
        note = "Groups whose losses are the same on every row that two of them have in common."
        grids.append(grid("groups", pairs.shown, title="Implementations that agree", note=note))
    note = "On how many rows the losses of two implementations are equal, near each other, or farther apart."
    grids += _of_section(site, pairs, title="Pair by pair", note=note)
    return _tables(
        "agreement.html", "Agreement",
        "Who gives the same losses as whom, and on which cases the implementations lie farthest apart, in ulp of the "
        "dtype at the exact loss.",
        grids, pictures=pictures,
    )  # fmt: skip


def _counted(agreement: Section | None) -> Section | None:
    """With the number of those that gave no finite loss, whose names would fill the page."""
    if agreement is None:
        return None
    names = agreement.table["not finite"].astype(str)
    return replace(agreement, table=agreement.table.assign(**{"not finite": names.str.count("/")}))


def _bounds(site: Site, sections: dict[str, Section], out: Path) -> WebPage:
    pictures = []
    for figure in bound_figures(site.found.measurements):
        (name,) = slugs([f"bounds-{figure.name}"]).values()
        _picture(figure.chart, out, f"{name}.svg")
        pictures.append({"file": f"{name}.svg", "title": figure.title, "width": 560})
    grids = [
        made
        for n, s in sections.items()
        if n.startswith("bounds_") or n == "stability"
        for made in _of_section(site, s)
    ]
    return _tables(
        "bounds.html", "Measured against bound",
        "Measured errors over the a-priori bounds of Blanchard, Higham and Higham: at most 1 where a bound holds. "
        "And over what the rounding of the logits alone may cost: the stability of the loss.",
        grids, pictures=pictures,
    )  # fmt: skip


def _faults(site: Site, sections: dict[str, Section]) -> WebPage:
    note = "In how many cases and dtypes, and the first of the cases."
    grids = _of_section(site, sections.get("faults"), title="Faults and refusals", note=note)
    grids += _of_section(site, sections.get("invalid"))
    ignored = sections.get("ignored")
    grids += _of_section(site, ignored and replace(ignored, table=ignored.shown))
    return _tables(
        "faults.html",
        "Not measured",
        "What raised, crashed or ran out of time; what an implementation does not support, in its own words; and what "
        "happened to targets that are no class, to ignored rows and where no row counts.",
        grids,
        nothing="Everything was measured.",
    )


def _data(site: Site, out: Path) -> WebPage:
    tables = [(s.name, s.title, s.note, s.table) for s in site.found.sections]
    if len(site.worst):
        tables.append(
            ("cases", "Cases", "Of each case and cell the worst row: its grades and errors.", pd.DataFrame(site.worst))
        )
    files = [download_measurements(site.found, out / "data")]
    files += download_tables(tables, out / "data")
    return WebPage(
        "data.html",
        "data.html",
        {
            "title": "Data",
            "lede": "The numbers behind every page. The columns are explained in LogitLab's documentation.",
            "files": files,
        },
    )


def _picture(chart: Any, out: Path, file: str) -> None:
    (out / "charts" / file).write_text(charts.svg(chart), encoding="utf-8")
