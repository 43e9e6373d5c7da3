"""The data that all pages of a site share: the report, the cell that stands for it, and the addresses of pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlencode

import pandas as pd

from .._report import Report
from ..tables.grades import Column, grade_matrix, reference_column
from ._grids import Address, Grid
from ._programs import Programs
from ._results import define_results
from ._slugs import slugs


@dataclass(frozen=True, kw_only=True)
class WebPage:
    """A page before it is written: its ``file``, and the values of its template.

    ``downloads`` is the address of the numbers behind its tables.
    """

    template: ClassVar[str]
    file: str
    title: str
    lede: str = ""
    nothing: str = ""
    grids: Sequence[Grid] = ()
    explores: bool = False
    downloads: str = "data.html"


@dataclass(frozen=True, eq=False)
class Site:
    """A report with the addresses of its pages.

    Attributes:
        report: the report; its source has the table ``results``, see `define_results`.
        grades: the grade matrix.
        reference: the dtype, mode and device that stand for the run; None if nothing was graded.
        programs: the programs that the runs keep.
        cases, implementations: the file name of each name's page, without folder and ending.
    """

    report: Report
    grades: pd.DataFrame
    reference: Column | None
    programs: Programs
    cases: Mapping[str, str]
    implementations: Mapping[str, str]

    @classmethod
    def of(cls, report: Report) -> Site:
        found = report.source
        define_results(found)
        cases, implementations = (
            slugs(found.sql(f'SELECT "{c}" AS name FROM results GROUP BY ALL ORDER BY min(number)')["name"])
            for c in ("case", "implementation")
        )
        # Not from the report's sections, whose other tables the pages of cases do not need.
        programs = Programs(report.programs)
        return cls(report, grade_matrix(found), reference_column(found.cells), programs, cases, implementations)

    def case(self, root: str) -> Address:
        """Return the addresses of cases, for a page whose path to the first page is ``root``."""
        return lambda name: f"{root}cases/{self.cases[name]}.html" if name in self.cases else None

    def implementation(self, root: str) -> Address:
        """Return the addresses of implementations, for a page whose path to the first page is ``root``."""
        return lambda name: (
            f"{root}implementations/{self.implementations[name]}.html" if name in self.implementations else None
        )

    def addresses(self, root: str) -> dict[str, Address]:
        """Return the addresses for each table column whose words have pages."""
        case, implementation = self.case(root), self.implementation(root)
        names = ("implementation", "one", "other", "lowest", "highest")
        return {"case": case, "first": case, "worst case": case} | dict.fromkeys(names, implementation)


def state(grid: str, picked: Mapping[str, str]) -> str:
    """Return the part of an address after ``#`` that opens a page with a table's columns filtered so."""
    return urlencode({f"{grid}.{column}": word for column, word in picked.items()})
