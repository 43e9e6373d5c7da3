"""The pages of tables, some below pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from ....core.formats import DTYPES
from ...charts.bounds import figures as bound_figures
from ...tables.sections import Section
from .. import _charts as charts
from .._grids import Grid, Order, grid
from .._site import Site, WebPage
from .._slugs import slugs

# The sections of a report that have a page of their own; any other is on the page of errors.
ELSEWHERE = (
    "grades", "finiteness", "modes", "devices", "agreement", "pairs", "faults", "invalid", "ignored", "stability",
)  # fmt: skip


class Picture(NamedTuple):
    """A picture in ``charts``, as wide as it is if no width is given."""

    file: str
    title: str
    width: int | None = None


@dataclass(frozen=True, kw_only=True)
class TablesPage(WebPage):
    """What ``tables.html`` is given."""

    template: ClassVar[str] = "tables.html"
    nothing: str = "The run has nothing for this page."
    pictures: Sequence[Picture] = ()
    with_legend: bool = False


def tables_pages(site: Site, sections: Mapping[str, Section], out: Path) -> Iterator[TablesPage]:
    """The pages; pictures are written into ``out``."""
    yield _grades(site, sections)
    yield _cases(site)
    yield _errors(site, sections)
    yield _side(site, sections, out, "modes", "Eager against compiled", "Measure another with --mode compiled")
    yield _side(site, sections, out, "devices", "CPU against accelerator", "Measure on a machine with an accelerator")
    yield _agreement(site, sections, out)
    yield _bounds(site, sections, out)
    yield _faults(site, sections)


def _grades(site: Site, sections: Mapping[str, Section]) -> TablesPage:
    return TablesPage(
        file="grades.html",
        title="Grades",
        lede="The worst grade of each implementation over all cases, rows and quantities, in each mode and on each "
        "device. A letter leads to the case that caused it.",
        grids=grids_of(site, sections.get("grades"), title="", note=""),
        with_legend=True,
    )


def _cases(site: Site) -> TablesPage:
    found = site.report.source
    table = found.sql(
        'SELECT "case", family FROM results WHERE rank = 1 GROUP BY "case", family ORDER BY min(number)'
    ).set_index("case")
    broken = found.sql(
        """SELECT "case", dtype, count(*) FILTER (grade = 'F') AS F
        FROM results WHERE rank = 1 AND grade IS NOT NULL GROUP BY "case", dtype"""
    ).pivot(index="case", columns="dtype", values="F")
    kept = site.report.cases.drop_duplicates("case").set_index("case")
    for name in ("why", "source"):
        if kept[name].notna().any():
            table[name] = kept[name].reindex(table.index)
    for dtype in DTYPES:
        if dtype in broken:
            table[f"F in {dtype}"] = broken[dtype].reindex(table.index).astype("Int64")
    return TablesPage(
        file="cases.html",
        title="Cases",
        lede=f"{len(table):,} cases, and how many implementations are F on each, in any mode and on any device.",
        grids=[grid("cases", table.reset_index(), links=site.addresses(""))] if len(table) else [],
        nothing="The run has no case.",
    )


def _errors(site: Site, sections: Mapping[str, Section]) -> TablesPage:
    here = [s for n, s in sections.items() if n not in ELSEWHERE and not n.startswith(("bounds_", "curve_"))]
    return TablesPage(
        file="errors.html",
        title="Errors",
        lede="How far the results are from the exact answer, in ulp of the dtype: the spacing of its numbers there. "
        "A correctly rounded result is off by at most a half.",
        grids=[made for s in here for made in grids_of(site, s)],
    )


def _side(site: Site, sections: Mapping[str, Section], out: Path, name: str, title: str, advice: str) -> TablesPage:
    """Modes against eager, or devices against the CPU."""
    section, column = sections.get(name), name.removesuffix("s")
    pictures = []
    if section is not None:
        charts.write_svg(charts.differences(section.table, column), out, f"{name}.svg")
        pictures.append(Picture(f"{name}.svg", f"{section.title}: share of rows with other bits"))
    return TablesPage(
        file=f"{name}.html",
        title=title,
        lede="The same rows, bit for bit: how many results differ, in how many of those the grade is worse or better, "
        "and how far two losses lie apart, in ulp.",
        grids=grids_of(site, section, title="", note=""),
        pictures=pictures,
        nothing=f"The runs of this report have one {column} alone. {advice}, and put the runs together: "
        "logitlab report RUN RUN --format html.",
    )


def _agreement(site: Site, sections: Mapping[str, Section], out: Path) -> TablesPage:
    pairs = sections.get("pairs")
    pictures = []
    dtype = site.reference.dtype if site.reference else ""
    if pairs is not None and len(pairs.table[(pairs.table["dtype"] == dtype) & (pairs.table["rows"] > 0)]):
        charts.write_svg(charts.equal_losses(pairs.table, dtype), out, "agreement.svg")
        title = f"Rows on which two implementations give the same loss in every bit, {dtype}, eager"
        pictures.append(Picture("agreement.svg", title))
    note = "Of each case and dtype, eager, the row whose finite losses lie farthest apart: how many answers there are, "
    note += "who gave the lowest and the highest, and how many gave none that is finite; the downloads name them."
    grids = grids_of(site, _counted(sections.get("agreement")), note=note, order=[("apart", "desc")])
    if pairs is not None:
        note = "Groups whose losses are the same on every row that two of them have in common."
        grids.append(grid("groups", pairs.shown, title="Implementations that agree", note=note))
    note = "On how many rows the losses of two implementations are equal, near each other, or farther apart."
    grids += grids_of(site, pairs, title="Pair by pair", note=note)
    return TablesPage(
        file="agreement.html",
        title="Agreement",
        lede="Who gives the same losses as whom, and on which cases the implementations lie farthest apart, in ulp of "
        "the dtype at the exact loss.",
        grids=grids,
        pictures=pictures,
    )


def _counted(agreement: Section | None) -> Section | None:
    """With the number of those that gave no finite loss, whose names would fill the page."""
    if agreement is None:
        return None
    names = agreement.table["not finite"].astype(str)
    return replace(agreement, table=agreement.table.assign(**{"not finite": names.str.count("/")}))


def _bounds(site: Site, sections: Mapping[str, Section], out: Path) -> TablesPage:
    pictures = []
    for figure in bound_figures(site.report.source):
        (name,) = slugs([f"bounds-{figure.name}"]).values()
        charts.write_svg(figure.chart, out, f"{name}.svg")
        pictures.append(Picture(f"{name}.svg", figure.title, 560))
    grids = [
        made for n, s in sections.items() if n.startswith("bounds_") or n == "stability" for made in grids_of(site, s)
    ]
    return TablesPage(
        file="bounds.html",
        title="Measured against bound",
        lede="Measured errors over the a-priori bounds of Blanchard, Higham and Higham: at most 1 where a bound holds. "
        "And over what the rounding of the logits alone may cost: the stability of the loss.",
        grids=grids,
        pictures=pictures,
    )


def _faults(site: Site, sections: Mapping[str, Section]) -> TablesPage:
    note = "In how many cases and dtypes, and the first of the cases."
    grids = grids_of(site, sections.get("faults"), title="Faults and refusals", note=note)
    grids += grids_of(site, sections.get("invalid"))
    ignored = sections.get("ignored")
    grids += grids_of(site, ignored and replace(ignored, table=ignored.shown))
    return TablesPage(
        file="faults.html",
        title="Not measured",
        lede="What raised, crashed or ran out of time; what an implementation does not support, in its own words; and "
        "what happened to targets that are no class, to ignored rows and where no row counts.",
        grids=grids,
        nothing="Everything was measured.",
    )


def grids_of(
    site: Site, section: Section | None, *, title: str | None = None, note: str | None = None, order: Order = ()
) -> list[Grid]:
    """The table of a section, if there is one, with the section's title and note unless others are given."""
    if section is None:
        return []
    title, note = section.title if title is None else title, section.note if note is None else note
    return [grid(section.name, section.table, title=title, note=note, links=site.addresses(""), order=order)]
