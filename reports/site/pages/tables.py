"""The pages of tables, some below pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd

from ....core.formats import in_table_order
from ...charts.bands import figures as band_figures
from ...charts.bounds import figures as bound_figures
from ...tables.sections import Section
from .. import _charts as charts
from .._grids import Grid, Order, grid
from .._site import Site, WebPage
from .._slugs import slugs

# Sections that have another page; the page of errors has the rest.
ELSEWHERE = (
    "grades", "finiteness", "modes", "devices", "device_pairs", "agreement", "pairs", "faults", "invalid", "ignored",
    "stability", "bitwise",
)  # fmt: skip
# Lines of a table of two devices, of which a run of the whole catalogue may have tens of thousands.
MAX_PAIRED = 3000


class Picture(NamedTuple):
    """A picture in ``charts``; without a width it keeps its own."""

    file: str
    title: str
    width: int | None = None


@dataclass(frozen=True, kw_only=True)
class TablesPage(WebPage):
    """The values of ``tables.html``."""

    template: ClassVar[str] = "tables.html"
    nothing: str = "The run has nothing for this page."
    pictures: Sequence[Picture] = ()
    with_legend: bool = False


def tables_pages(site: Site, sections: Mapping[str, Section], out: Path) -> Iterator[TablesPage]:
    """Yield the pages, and write their pictures into ``out``."""
    yield _grades(site, sections)
    yield _cases(site)
    yield _errors(site, sections)
    yield _distributions(site, sections, out)
    yield _side(site, sections, out, "modes", "Eager against compiled", "Measure another with --mode compiled")
    yield _devices(site, sections, out)
    yield _bitwise(site, sections)
    yield _agreement(site, sections, out)
    yield _bounds(site, sections, out)
    yield _faults(site, sections)


def _grades(site: Site, sections: Mapping[str, Section]) -> TablesPage:
    return TablesPage(
        file="grades.html",
        title="Grades",
        lede="The worst grade of each implementation over all cases, rows and quantities, in each mode and on each "
        f"device. Click a letter for the case that decides it.{_notes(site)}",
        grids=grids_of(site, sections.get("grades"), title="", note=""),
        with_legend=True,
    )


def _notes(site: Site) -> str:
    return "".join(f" {note}" for note in site.report.notes)


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
    for dtype in in_table_order(broken.columns):
        table[f"F in {dtype}"] = broken[dtype].reindex(table.index).astype("Int64")
    return TablesPage(
        file="cases.html",
        title="Cases",
        lede=f"{len(table):,} cases, and how many implementations have grade F on each, in any mode and on any device.",
        grids=[grid("cases", table.reset_index(), links=site.addresses(""))] if len(table) else [],
        nothing="The run has no cases.",
    )


def _errors(site: Site, sections: Mapping[str, Section]) -> TablesPage:
    away = ("bounds_", "curve_", "distribution_")
    here = [s for n, s in sections.items() if n not in ELSEWHERE and not n.startswith(away)]
    return TablesPage(
        file="errors.html",
        title="Errors",
        lede="The distance of the results from the exact answer, in ulp: the spacing of the dtype's numbers there. "
        "A correctly rounded result is off by at most half an ulp.",
        grids=[table for s in here for table in grids_of(site, s)],
    )


def _distributions(site: Site, sections: Mapping[str, Section], out: Path) -> TablesPage:
    """The distributions of errors, below the bands along the axes in the dtype, mode and device of the first page."""
    pictures = []
    if site.reference is not None:
        for figure in band_figures(site.report.source, site.reference):
            (name,) = slugs([figure.name]).values()
            charts.write_svg(figure.chart, out, f"{name}.svg")
            pictures.append(Picture(f"{name}.svg", figure.title, 560))
    # The curves have their numbers in the downloads.
    shown = [
        s for n, s in sections.items() if n.startswith("distribution_") and not n.startswith("distribution_along_")
    ]
    note = "Finite errors in ulp: median, percentiles and largest; the shares of rows that failed and of errors beyond "
    note += "1, 10 and 1,000 ulp. zeroed is the share of entries that came out 0 and should not."
    return TablesPage(
        file="distributions.html",
        title="Distributions",
        lede="How large errors usually are, beside the largest. The bias is the mean signed error of the loss, over "
        "errors of at most 1,000 ulp.",
        grids=[table for s in shown for table in grids_of(site, s, note=note)],
        pictures=pictures,
        nothing="Nothing could be graded.",
    )


def _side(site: Site, sections: Mapping[str, Section], out: Path, name: str, title: str, advice: str) -> TablesPage:
    """Modes against eager, or devices against the CPU."""
    section, column = sections.get(name), name.removesuffix("s")
    pictures = []
    if section is not None:
        charts.write_svg(charts.differences(section.table, column), out, f"{name}.svg")
        pictures.append(Picture(f"{name}.svg", f"{section.title}: share of rows whose bits differ"))
    return TablesPage(
        file=f"{name}.html",
        title=title,
        lede="The same rows compared bit for bit: how many results differ, how many grades are worse or better, and "
        f"the largest distance of two losses in ulp.{_notes(site)}",
        grids=grids_of(site, section, title="", note=""),
        pictures=pictures,
        nothing=f"The runs of this report have only one {column}. {advice}, then report both runs: "
        "logitlab report RUN RUN --format html.",
    )


def _bitwise(site: Site, sections: Mapping[str, Section]) -> TablesPage:
    return TablesPage(
        file="bitwise.html",
        title="Bitwise invariance",
        lede="Whether a row's loss and gradient keep their bits when only its surroundings change. "
        "Reinforcement learning compares probabilities of two programs, and needs equal bits.",
        grids=grids_of(site, sections.get("bitwise"), title=""),
        nothing="The runs of this report have not compared bits; measure them with logitlab run --bitwise.",
    )


def _devices(site: Site, sections: Mapping[str, Section], out: Path) -> TablesPage:
    """Devices against the CPU, and a table of each pair of devices with their grades side by side."""
    advice = "Measure on a machine with an accelerator, or tinygrad with --device cl"
    page = _side(site, sections, out, "devices", "CPU against accelerator", advice)
    section = sections.get("device_pairs")
    if section is None:
        return page
    named = section.table.groupby(["one", "other"], sort=False)
    grids = [_pair(site, str(one), str(other), table) for (one, other), table in named]
    title = grids[0].title.replace("cpu", "CPU") if len(grids) == 1 else "Device against device"
    return replace(page, title=title, grids=[*page.grids, *grids])


def _pair(site: Site, one: str, other: str, table: pd.DataFrame) -> Grid:
    """Two devices, side by side: a line for each case whose results differ."""
    kept = table.drop(columns=["one", "other"]).rename(columns=lambda name: _of_pair(name, one, other))
    note = f"A line for each case whose bits differ between {one} and {other}: the worst grade on each, the rows that "
    note += "differ, the largest distance of two losses and the largest error on each, in ulp."
    if len(kept) > MAX_PAIRED:
        note += f" The first {MAX_PAIRED:,} of {len(kept):,} lines; those with another grade come first, then those "
        note += "with the largest distance. The downloads have all."
    name = "-".join(f"{one}-{other}".split())
    return grid(name, kept.head(MAX_PAIRED), title=f"{one} against {other}", note=note, links=site.addresses(""))


def _of_pair(column: str, one: str, other: str) -> str:
    return {
        "grade of one": f"grade on {one}", "grade of other": f"grade on {other}",
        "error of one": f"error on {one}", "error of other": f"error on {other}",
    }.get(column, column)  # fmt: skip


def _agreement(site: Site, sections: Mapping[str, Section], out: Path) -> TablesPage:
    pairs = sections.get("pairs")
    pictures = []
    dtype = site.reference.dtype if site.reference else ""
    if pairs is not None and len(pairs.table[(pairs.table["dtype"] == dtype) & (pairs.table["rows"] > 0)]):
        charts.write_svg(charts.equal_losses(pairs.table, dtype), out, "agreement.svg")
        title = f"Rows on which two implementations return the same loss, bit for bit ({dtype}, eager)"
        pictures.append(Picture("agreement.svg", title))
    note = "For each case and dtype, in eager mode, the row with the largest distance between two finite losses: the "
    note += "number of different answers, the lowest and highest, and how many losses are not finite (named in the "
    note += "downloads)."
    grids = grids_of(site, _counted(sections.get("agreement")), note=note, order=[("apart", "desc")])
    if pairs is not None:
        note = "Groups whose losses have the same bits on every row that both members of a pair measured."
        grids.append(grid("groups", pairs.shown, title="Implementations that agree", note=note))
    note = "On how many rows the losses of two implementations are equal, near each other, or farther apart."
    grids += grids_of(site, pairs, title="Pair by pair", note=note)
    return TablesPage(
        file="agreement.html",
        title="Agreement",
        lede="Which implementations return the same losses, and on which cases their losses differ most. Distances are "
        "in ulp of the dtype at the exact loss.",
        grids=grids,
        pictures=pictures,
    )


def _counted(agreement: Section | None) -> Section | None:
    """The table with the number of losses that are not finite, whose names would fill the page."""
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
        table for n, s in sections.items() if n.startswith("bounds_") or n == "stability" for table in grids_of(site, s)
    ]
    return TablesPage(
        file="bounds.html",
        title="Measured against bound",
        lede="Measured errors divided by the a-priori bounds of Blanchard, Higham and Higham: at most 1 where a bound "
        "holds. The last table divides them by the error that rounding the logits may cause.",
        grids=grids,
        pictures=pictures,
    )


def _faults(site: Site, sections: Mapping[str, Section]) -> TablesPage:
    note = "Each message, with the number of its cases and dtypes, and its first case."
    grids = grids_of(site, sections.get("faults"), title="Failed and unsupported calls", note=note)
    grids += grids_of(site, sections.get("invalid"))
    ignored = sections.get("ignored")
    grids += grids_of(site, ignored and replace(ignored, table=ignored.shown))
    return TablesPage(
        file="faults.html",
        title="Not measured",
        lede="Calls that raised, crashed or ran out of time, and options that the framework reports as unsupported. "
        "Below, three things without a grade: invalid targets, ignored rows, and batches with every row ignored.",
        grids=grids,
        nothing="Everything was measured.",
    )


def grids_of(
    site: Site, section: Section | None, *, title: str | None = None, note: str | None = None, order: Order = ()
) -> list[Grid]:
    """Return the table of a section, if there is one; ``title`` and ``note`` replace the section's."""
    if section is None:
        return []
    title, note = section.title if title is None else title, section.note if note is None else note
    return [grid(section.name, section.table, title=title, note=note, links=site.addresses(""), order=order)]
