"""What every page of a site rests on: the report, its results row by row, and the addresses of pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import pandas as pd

from .._report import Page
from ..tables.findings import reference_cell
from ..tables.ordering import CELL
from ..tables.results import results, worst_rows
from ._grids import Link
from ._names import slugs

MEANINGS = {
    "A": "accurate",
    "B": "stable",
    "C": "offset-sensitive",
    "D": "inaccurate",
    "F": "not finite where it should be, or the reverse",
}


@dataclass(frozen=True, eq=False)
class Site:
    """A report on its way to pages.

    Attributes:
        found: the report.
        results: one line for each case row and cell; see `results`.
        worst: of each case and cell the worst of these lines.
        cell: the dtype, mode and device that stand for the run; empty if nothing was graded.
        cases, implementations: of each name the name of its page, without folder and ending.
    """

    found: Page
    results: pd.DataFrame
    worst: pd.DataFrame
    cell: Mapping[str, str]
    cases: Mapping[str, str]
    implementations: Mapping[str, str]

    @classmethod
    def of(cls, found: Page) -> Site:
        rows = results(found.measurements)
        names = [map(str, pd.unique(rows[c])) for c in ("case", "implementation")]
        return cls(found, rows, worst_rows(rows), reference_cell(rows), *map(slugs, names))

    def case(self, root: str) -> Link:
        """The addresses of cases, from a page whose way to the first page is ``root``."""
        return lambda name: f"{root}cases/{self.cases[name]}.html" if name in self.cases else None

    def implementation(self, root: str) -> Link:
        """The same of implementations."""
        return lambda name: (
            f"{root}implementations/{self.implementations[name]}.html" if name in self.implementations else None
        )

    def links(self, root: str) -> dict[str, Link]:
        """Of the columns of tables those whose words have pages."""
        case, implementation = self.case(root), self.implementation(root)
        names = ("implementation", "one", "other", "lowest", "highest")
        return {"case": case, "first": case, "worst case": case} | dict.fromkeys(names, implementation)


def state(grid: str, picked: Mapping[str, str]) -> str:
    """The part of an address after ``#`` that opens a page with a table's columns picked so."""
    return urlencode({f"{grid}.{column}": word for column, word in picked.items()})


def cell_words(cell: Mapping[str, str]) -> str:
    """``float32, eager, cpu``."""
    return ", ".join(cell[c] for c in reversed(CELL) if c in cell)
