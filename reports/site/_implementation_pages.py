"""A page for each implementation: its grades, and how it did on every case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ...core.formats import DTYPES
from ..tables.ordering import CELL
from ..tables.uncounted import MANY_ULP
from ._grids import grid
from ._site import Site, state

WORDS = {
    "naive": "softmax, then its logarithm",
    "lse": "LogSumExp with the maximum added back, less the target logit",
    "log1p": "the maximum's own term taken out of the sum",
    "builtin": "a loss that the framework ships",
}
SHOWN = ["case", "family", "dtype", "mode", "device", "grade", "loss", "loss ulp", "gradient", "gradient ulp",
         "probabilities", "stage", "verdict", "status", "detail"]  # fmt: skip

NOT_MEASURED = {"case": None, "href": None, "loss": "", "gradient": "", "broken": ""}
UNPICKED = ("loss", "gradient", "probabilities", "status")  # beside the grade and the verdict


def implementation_pages(site: Site) -> Iterator[tuple[str, dict[str, Any]]]:
    """The file and the contents of each page."""
    df = site.found.measurements
    versions = df[["implementation", "version", "formula"]].drop_duplicates("implementation").astype(object)
    facts = versions.set_index("implementation")
    cells = _cells(site)
    for name, part in site.worst.groupby("implementation", sort=False, observed=True):
        framework, formula = str(part["framework"].iloc[0]), str(facts["formula"][name])
        table = part[SHOWN].sort_values("grade", ascending=False, kind="stable").dropna(axis=1, how="all")
        note = f"Of each case, dtype, mode and device the worst row. The downloads have every row. {MANY_ULP}"
        yield (
            f"implementations/{site.implementations[str(name)]}.html",
            {
                "title": str(name),
                "name": str(name),
                "framework": framework,
                "framework_state": state("grades", {"framework": framework}),
                "lede": f"{formula}: {WORDS.get(formula, 'a formula')}. Version {facts['version'][name]}.",
                "cells": cells.get(str(name), []),
                "grids": [
                    grid("cases", table, title="Case by case", note=note, links=site.links("../"), unpicked=UNPICKED)
                ],
            },
        )


def _cells(site: Site) -> dict[str, list[dict[str, Any]]]:
    """Of each implementation a line for each cell: the worst grade and its case, the usual error, and how much is F."""
    graded = site.results[site.results["grade"].notna()].assign(F=lambda t: t["grade"] == "F")
    of_cells = graded.groupby(CELL, observed=True, sort=False).agg(
        loss=("loss ulp", "median"), gradient=("gradient ulp", "median"), wrong=("F", "mean")
    )
    usual = dict(zip(of_cells.index.to_list(), of_cells.to_dict("records"), strict=True))
    table = next((s.table for s in site.found.sections if s.name == "grades"), pd.DataFrame(columns=CELL))
    cells: dict[str, list[dict[str, Any]]] = {}
    for line in table.to_dict("records"):
        for dtype in (d for d in DTYPES if isinstance(line.get(d), str)):
            cell = {c: str(line[c]) for c in CELL[:-1]} | {"dtype": dtype, "grade": line[dtype]}
            found = usual.get(tuple(cell[c] for c in CELL))
            if found is not None:
                case = str(line[f"{dtype} case"])
                cell |= {"case": case, "href": site.case("../")(case) or ""}
                cell |= {q: _ulp(found[q]) for q in ("loss", "gradient")} | {"broken": f"{found['wrong']:.1%}"}
            cells.setdefault(cell["implementation"], []).append(NOT_MEASURED | cell)
    return cells


def _ulp(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2g}"
