"""A page for each implementation: its grades, and its results on every case."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pandas as pd

from ....core.vocabulary import FAILING, Formula
from ....storage.querying import Measurements, quoted
from ...tables.grades import grade_cells
from ...tables.medians import medians
from ...tables.ordering import CELL, KEYS, in_order
from ...tables.uncounted import MANY_ULP
from .._grids import grid
from .._programs import ShownProgram, failing_first
from .._results import GRADED, QUANTITIES, results
from .._site import Site, WebPage

FORMULAS = {
    Formula.NAIVE.value: "softmax, then its logarithm",
    Formula.LSE.value: "LogSumExp with the maximum added back, minus the target logit",
    Formula.LOG1P.value: "log1p of the sum without the maximum's own term, plus the maximum minus the target logit",
    Formula.ONLINE.value: "the online softmax, tile by tile, with its maximum added back, minus the target logit",
    Formula.BUILTIN.value: "a loss that the framework ships",
}
SHOWN = ["case", "family", "dtype", "mode", "device", "grade", *GRADED, "stage", "verdict", "status", "detail"]
UNPICKED = (*QUANTITIES, "status")  # beside the grade and the verdict


class Cell(NamedTuple):
    """The worst grade or status in a dtype, mode and device.

    Where something was graded, also the deciding case, the median errors in ulp and the share of rows that are F.
    """

    dtype: str
    mode: str
    device: str
    grade: str
    case: str | None = None
    loss: str = ""
    gradient: str = ""
    broken: str = ""


@dataclass(frozen=True, kw_only=True)
class ImplementationPage(WebPage):
    """The values of ``implementation.html``."""

    template: ClassVar[str] = "implementation.html"
    framework: str
    cells: Sequence[Cell]
    programs: Sequence[ShownProgram]


def implementation_pages(site: Site) -> Iterator[ImplementationPage]:
    """Yield the pages in the run's order."""
    found = site.report.source
    facts = found.cells.drop_duplicates("implementation").set_index("implementation")
    cells = _cells(site, found)
    note = f"The worst row of each case, dtype, mode and device. The downloads have every row. {MANY_ULP}"
    for name in site.implementations:
        rows = results(found, f"implementation = {quoted(name)} AND rank = 1", "grade DESC NULLS LAST, number")
        table = rows[SHOWN].dropna(axis=1, how="all")
        framework, formula = str(facts["framework"][name]), str(facts["formula"][name])
        yield ImplementationPage(
            file=f"implementations/{site.implementations[name]}.html",
            title=name,
            lede=f"{formula}: {FORMULAS.get(formula, 'a formula')}. Version {facts['version'][name]}.",
            framework=framework,
            cells=cells.get(name, ()),
            programs=site.programs.shown(_deciding(rows, cells.get(name, ())), "case"),
            grids=[
                grid("cases", table, title="Case by case", note=note, links=site.addresses("../"), unpicked=UNPICKED)
            ],
        )


def _cells(site: Site, found: Measurements) -> dict[str, list[Cell]]:
    """The cells of each implementation, by mode and device, then dtype."""
    graded = "FROM results WHERE grade IS NOT NULL"
    broken = found.sql(f"SELECT {KEYS}, avg((grade = 'F')::INTEGER) AS broken {graded} GROUP BY {KEYS}")
    middle = medians(found, CELL, {"loss": '"loss ulp"', "gradient": '"gradient ulp"'}, f"SELECT * {graded}")
    table = in_order(found.cells, grade_cells(site.grades))
    cells: dict[str, list[Cell]] = {}
    for line in table.merge(broken, "left", CELL).merge(middle, "left", CELL).to_dict("records"):
        cell = [line["dtype"], line["mode"], line["device"], line["grade"]]
        if pd.notna(line["broken"]):
            cell += [line["case"], _ulp(line["loss"]), _ulp(line["gradient"]), f"{line['broken']:.1%}"]
        cells.setdefault(line["implementation"], []).append(Cell(*cell))
    return cells


def _deciding(rows: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    """Return the failing results on the cases that decide the grade of a cell."""
    return failing_first(rows[rows["case"].isin([cell.case for cell in cells if cell.grade in FAILING])])


def _ulp(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2g}"
