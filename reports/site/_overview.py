"""The first page: which losses are safe, on what, and what breaks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...core.formats import DTYPES
from ...core.vocabulary import GRADES
from ..charts.style import distinct, shortened
from ..tables.findings import SAFE, at, headlines, worst_grades
from ..tables.ignored import lets_nan_through
from ._site import Site, state

COLUMNS = 3
MAX_LINES = 35  # characters of a name
HEADING = 1.6  # lines that a heading takes
SHORT = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}


def overview(site: Site) -> dict[str, Any]:
    """What the template of the first page is filled with."""
    findings = [
        {
            "title": f.title,
            "words": f.words,
            "case": f.case,
            "case_href": f.case and site.case("")(f.case),
            "implementations": [{"text": n, "href": site.implementation("")(n)} for n in f.implementations],
        }
        for f in headlines(site.results)
    ]
    dtypes = [d for d in DTYPES if d in set(pd.unique(site.worst["dtype"]))]
    return {
        "title": "Which losses are safe",
        "headline": _headline(site),
        "lede": _lede(site),
        "findings": findings,
        "ignored": [
            {"where": str(where), "implementations": [{"text": n, "href": site.implementation("")(n)} for n in names]}
            for where, names in lets_nan_through(site.found.source).items()
        ],
        "columns": _columns(site, dtypes),
        "dtypes": [{"name": d, "short": SHORT[d]} for d in dtypes],
        "cell_note": _measured(site),
    }


def _headline(site: Site) -> str:
    if not site.cell:
        return "Nothing has been graded"
    worst = worst_grades(at(site.results, dict(site.cell)))
    safe = int(worst.isin(SAFE).sum())
    return f"{safe} of {len(worst)} losses are safe in {site.cell['dtype']}"


def _lede(site: Site) -> str:
    if not site.cell:
        return "The run has no measurement that could be graded; what it has is told on the page Provenance."
    rows = at(site.results, dict(site.cell))
    return (
        f"Safe is grade A or B on every one of {rows['case'].nunique():,} cases: finite wherever the exact answer is, "
        "and right to a few roundings."
    )


def _measured(site: Site) -> str:
    packages = {p: v for m in site.found.manifests for p, v in m.packages.items()}
    versions = f" with {', '.join(f'{p} {v}' for p, v in packages.items())}" if packages else ""
    return f"Measured in {site.cell['mode']} mode on {site.cell['device']}{versions}." if site.cell else ""


def _columns(site: Site, dtypes: list[str]) -> list[list[dict[str, Any]]]:
    """The matrix of the reference mode and device, a table for each framework, in columns of about one length."""
    if not site.cell:
        return []
    table = next(s.table for s in site.found.sections if s.name == "grades")
    table = table[(table["mode"] == site.cell["mode"]) & (table["device"] == site.cell["device"])]
    blocks = [_block(site, str(name), part, dtypes) for name, part in table.groupby("framework", sort=False)]
    columns: list[list[dict[str, Any]]] = [[] for _ in range(COLUMNS)]
    heights = [0.0] * COLUMNS
    for block in sorted(blocks, key=lambda b: -len(b["lines"])):
        shortest = heights.index(min(heights))
        columns[shortest].append(block)
        heights[shortest] += len(block["lines"]) + HEADING
    return [column for column in columns if column]


def _block(site: Site, framework: str, part: pd.DataFrame, dtypes: list[str]) -> dict[str, Any]:
    lines: list[dict[str, Any]] = []
    names = [str(name) for name in part["implementation"]]
    shorts = distinct([name.removeprefix(f"{framework}/") for name in names], MAX_LINES)
    for line, name, short in zip(part.to_dict("records"), names, shorts, strict=True):
        cells: list[dict[str, Any]] = [
            {
                "dtype": d,
                "grade": None if pd.isna(line.get(d)) else line[d],
                "href": _to_case(site, line.get(f"{d} case"), name, d),
            }
            for d in dtypes
        ]
        lines.append(
            {
                "name": name,
                "short": short,
                "href": site.implementation("")(name),
                "cells": cells,
            }
        )
    lines.sort(key=lambda each: sum(6 ** _rank(c["grade"]) for c in each["cells"]))
    return {
        "framework": shortened(framework, MAX_LINES),
        "cell": f"{site.cell['mode']}, {site.cell['device']}",
        "lines": lines,
    }


def _rank(grade: Any) -> int:
    return GRADES.index(grade) if grade in GRADES else 0


def _to_case(site: Site, case: Any, implementation: str, dtype: str) -> str | None:
    address = site.case("")(str(case)) if isinstance(case, str) else None
    return address and f"{address}#{state('given', {'implementation': implementation, 'dtype': dtype})}"
