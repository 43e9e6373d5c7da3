"""The first page: which losses are safe, on what, and what breaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd

from ....core.formats import DTYPES
from ....core.vocabulary import Reach, grade_rank
from ...charts.style import distinct, shortened
from ...tables.grades import Column, worst_grades
from ...tables.ignored import lets_nan_through
from .._findings import SAFE, Finding, headlines
from .._lead import Picture, lead
from .._site import Site, WebPage, state

COLUMNS = 3
MAX_LINES = 35  # characters of a name
HEADING = 1.6  # lines that a heading takes
SHORT = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}


class Chip(NamedTuple):
    """A grade or status of the matrix, if there is one, and the case that caused it."""

    dtype: str
    grade: str | None
    href: str | None


class Line(NamedTuple):
    """An implementation of the matrix; ``short`` is its name without the framework."""

    name: str
    short: str
    cells: Sequence[Chip]


class Block(NamedTuple):
    """The matrix of one framework."""

    framework: str
    cell: str
    lines: Sequence[Line]


@dataclass(frozen=True, kw_only=True)
class Overview(WebPage):
    """What ``index.html`` is given; ``dtypes`` has the short names of the matrix's dtypes."""

    template: ClassVar[str] = "index.html"
    headline: str
    picture: Picture | None
    findings: Sequence[Finding]
    ignored: Mapping[Reach, Sequence[str]]
    columns: Sequence[Sequence[Block]]
    dtypes: Mapping[str, str]
    cell_note: str


def overview(site: Site, out: Path) -> Overview:
    """The first page; its picture is written into ``out``."""
    found, reference = site.report.source, site.reference
    present = set(found.cells["dtype"])
    dtypes = {d: SHORT[d] for d in DTYPES if d in present}
    headline, lede = _headline(site, reference) if reference else _NOTHING
    return Overview(
        file="index.html",
        title="Which losses are safe",
        headline=headline,
        lede=lede,
        picture=lead(found, reference, out),
        findings=headlines(found, site.grades),
        ignored=lets_nan_through(found),
        columns=_columns(site, reference, list(dtypes)) if reference else (),
        dtypes=dtypes,
        cell_note=_measured(site, reference) if reference else "",
    )


_NOTHING = (
    "Nothing has been graded",
    "The run has no measurement that could be graded; what it has is told on the page Provenance.",
)


def _headline(site: Site, reference: Column) -> tuple[str, str]:
    worst = worst_grades(site.grades, reference)
    graded = f'SELECT count(DISTINCT "case") AS n FROM results WHERE grade IS NOT NULL AND {reference.condition}'
    (cases,) = site.report.source.sql(graded)["n"]
    return (
        f"{int(worst.isin(SAFE).sum())} of {len(worst)} losses are safe in {reference.dtype}",
        f"Safe is grade A or B on every one of {cases:,} cases: finite wherever the exact answer is, "
        "and right to a few roundings.",
    )


def _measured(site: Site, reference: Column) -> str:
    packages = {p: v for m in site.report.manifests for p, v in m.packages.items()}
    versions = f" with {', '.join(f'{p} {v}' for p, v in packages.items())}" if packages else ""
    return f"Measured in {reference.mode} mode on {reference.device}{versions}."


def _columns(site: Site, reference: Column, dtypes: Sequence[str]) -> list[list[Block]]:
    """The matrix of the reference mode and device, a table for each framework, in columns of about one length."""
    table = site.grades
    table = table[(table["mode"] == reference.mode) & (table["device"] == reference.device)]
    cell = f"{reference.mode}, {reference.device}"
    blocks = [
        Block(shortened(str(name), MAX_LINES), cell, _lines(site, str(name), part, dtypes))
        for name, part in table.groupby("framework", sort=False)
    ]
    columns: list[list[Block]] = [[] for _ in range(COLUMNS)]
    heights = [0.0] * COLUMNS
    for block in sorted(blocks, key=lambda b: -len(b.lines)):
        shortest = heights.index(min(heights))
        columns[shortest].append(block)
        heights[shortest] += len(block.lines) + HEADING
    return [column for column in columns if column]


def _lines(site: Site, framework: str, part: pd.DataFrame, dtypes: Sequence[str]) -> list[Line]:
    """The implementations of a framework, the best first."""
    names = [str(name) for name in part["implementation"]]
    shorts = distinct([name.removeprefix(f"{framework}/") for name in names], MAX_LINES)
    lines = []
    for (_, line), name, short in zip(part.iterrows(), names, shorts, strict=True):
        cells = [
            Chip(d, None if pd.isna(line.get(d)) else line[d], _to_case(site, line.get(f"{d} case"), name, d))
            for d in dtypes
        ]
        lines.append(Line(name, short, cells))
    return sorted(lines, key=lambda line: sum(6 ** max(grade_rank(c.grade), 0) for c in line.cells))


def _to_case(site: Site, case: object, implementation: str, dtype: str) -> str | None:
    address = site.case("")(case) if isinstance(case, str) else None
    return address and f"{address}#{state('given', {'implementation': implementation, 'dtype': dtype})}"
