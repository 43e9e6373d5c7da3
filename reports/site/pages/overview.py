"""The first page: which losses are safe, what breaks the others, and what to do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd

from ....core import interpreting
from ....core.counting import count
from ....core.formats import NARROW, in_table_order
from ....core.vocabulary import Reach, grade_rank
from ..._summary import Summary
from ..._wording import MEANINGS, outcome
from ...tables.grades import Column
from .._findings import Finding, headlines
from .._lead import Picture, lead
from .._site import Site, WebPage, state

COLUMNS = 3
MAX_LINE = 34  # characters of a name on one line of the matrix
HEADING = 1.6  # lines that a heading takes
SHORT = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}


class Chip(NamedTuple):
    """A grade or status of the matrix, if there is one, and the case that decides it."""

    dtype: str
    grade: str | None
    href: str | None


class Line(NamedTuple):
    """An implementation of the matrix."""

    name: str
    cells: Sequence[Chip]


class SafeLosses(NamedTuple):
    """The losses of a safe grade, and what the grade means."""

    grade: str
    meaning: str
    implementations: Sequence[str]


class Reason(NamedTuple):
    """A case that decides the grade of some losses: its result in words, why it is hard, and the losses."""

    grade: str
    case: str
    outcome: str
    why: str
    implementations: Sequence[str]


class Block(NamedTuple):
    """The matrix of one framework."""

    framework: str
    cell: str
    lines: Sequence[Line]


@dataclass(frozen=True, kw_only=True)
class Overview(WebPage):
    """The values of ``index.html``; ``dtypes`` has the short names of the matrix's dtypes."""

    template: ClassVar[str] = "index.html"
    headline: str
    safe: Sequence[SafeLosses]
    reasons: Sequence[Reason]
    picture: Picture | None
    findings: Sequence[Finding]
    ignored: Mapping[Reach, Sequence[str]]
    columns: Sequence[Sequence[Block]]
    dtypes: Mapping[str, str]
    cell_note: str


def overview(site: Site, out: Path) -> Overview:
    """Return the first page, and write its picture into ``out``."""
    found, reference, summary = site.report.source, site.reference, site.report.summary
    present = set(found.cells["dtype"])
    dtypes = {d: SHORT.get(d, d.partition("_")[2] if d in NARROW else d) for d in in_table_order(present)}
    headline, lede = _NOTHING if summary is None else _headline(summary)
    return Overview(
        file="index.html",
        title="Which losses are safe",
        headline=headline,
        lede=lede,
        safe=[] if summary is None else _safe(summary),
        reasons=[] if summary is None else _reasons(site, summary),
        picture=lead(found, reference, out),
        findings=headlines(found, site.grades),
        ignored={} if summary is None else summary.ignored,
        columns=_columns(site, reference, list(dtypes)) if reference else (),
        dtypes=dtypes,
        cell_note=_measured(site, reference) if reference else "",
    )


_NOTHING = (
    "Nothing has been graded",
    "No measurement of this run could be graded; the page Provenance shows what the run has.",
)


def _headline(summary: Summary) -> tuple[str, str]:
    return (
        summary.headline,
        f"We gave {count(summary.losses, 'loss')} the extreme logits of {count(summary.graded, 'case')} and compared "
        "each result with the exact answer. A safe loss has grade A or B on every case: it is finite where the answer "
        f"is finite, and right to a few roundings. {summary.scope}".rstrip(),
    )


def _safe(summary: Summary) -> list[SafeLosses]:
    return [SafeLosses(grade, MEANINGS[grade][1], names) for grade, names in summary.safe.items()]


def _reasons(site: Site, summary: Summary) -> list[Reason]:
    """Return the reasons why losses are not safe, the gravest first."""
    why = site.report.cases.drop_duplicates("case").set_index("case")["why"]
    found = []
    for group in summary.unsafe:
        if group.result is not None:
            words = why.get(group.result.case)
            reason = words if isinstance(words, str) else ""
            found.append(Reason(group.grade, group.result.case, outcome(group.result), reason, group.implementations))
    return found


def _measured(site: Site, reference: Column) -> str:
    packages = {p: v for m in site.report.manifests for p, v in m.packages.items()}
    versions = f" with {', '.join(f'{p} {v}' for p, v in packages.items())}" if packages else ""
    where = f"Measured in {reference.mode} mode on {reference.device}{versions}."
    return " ".join([where, *interpreting.notes([reference.mode])])


def _columns(site: Site, reference: Column, dtypes: Sequence[str]) -> list[list[Block]]:
    """The matrix of the reference mode and device: a table for each framework, in columns of similar length."""
    table = site.grades
    table = table[(table["mode"] == reference.mode) & (table["device"] == reference.device)]
    cell = f"{reference.mode}, {reference.device}"
    blocks = [
        Block(str(name), cell, _lines(site, part, dtypes)) for name, part in table.groupby("framework", sort=False)
    ]
    columns: list[list[Block]] = [[] for _ in range(COLUMNS)]
    heights = [0.0] * COLUMNS
    for block in sorted(blocks, key=lambda b: -_height(b)):
        shortest = heights.index(min(heights))
        columns[shortest].append(block)
        heights[shortest] += _height(block)
    return [column for column in columns if column]


def _height(block: Block) -> float:
    """How many lines a block takes, where a long name takes several."""
    return HEADING + sum(math.ceil(len(line.name) / MAX_LINE) for line in block.lines)


def _lines(site: Site, part: pd.DataFrame, dtypes: Sequence[str]) -> list[Line]:
    """The implementations of a framework, the best first."""
    lines = []
    for _, line in part.iterrows():
        name = str(line["implementation"])
        cells = [
            Chip(d, None if pd.isna(line.get(d)) else line[d], _to_case(site, line.get(f"{d} case"), name, d))
            for d in dtypes
        ]
        lines.append(Line(name, cells))
    return sorted(lines, key=lambda line: sum(6 ** max(grade_rank(c.grade), 0) for c in line.cells))


def _to_case(site: Site, case: object, implementation: str, dtype: str) -> str | None:
    address = site.case("")(case) if isinstance(case, str) else None
    return address and f"{address}#{state('given', {'implementation': implementation, 'dtype': dtype})}"
