"""An explanation on a terminal, in a hundred columns."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
from rich.console import Console
from rich.table import Table

from ._explain import Explanation

WIDTH = 100


def show(explanation: Explanation, console: Console | None = None) -> None:
    """Prints what was explained, a table of the stages, and what broke with what would mend it."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    for line in _heading(explanation):
        out.print(line)
    out.print(_table(explanation))
    for line in _findings(explanation):
        out.print(line, soft_wrap=False)


def _heading(e: Explanation) -> Iterator[str]:
    yield f"{e.case}, row {e.row}, {e.implementation} in {e.dtype} on {e.device}"
    grades = ", ".join(f"{quantity} {letter or 'not graded'}" for quantity, letter in e.grades.items())
    target = "target probabilities" if e.target < 0 else f"target {e.target}"
    few = f"; classes {', '.join(map(str, e.classes))} of {e.width} are shown" if len(e.classes) < e.width else ""
    yield f"{target}; grades: {grades}{few}"


def _table(e: Explanation) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    # Without a width of their own, long values would squeeze the names.
    for name, width in (("", 1), ("stage", 14), ("formula", 22), ("computed", 25), ("exact", 27)):
        table.add_column(name, max_width=width, overflow="fold")
    table.add_column("ulp", justify="right", no_wrap=True)
    direction = ""
    for line in e.stages.to_dict("records"):
        if line["pass"] != direction:
            direction = line["pass"]
            table.add_row("", f"{direction}:", style="bold")
        mark = "" if pd.isna(line["rule"]) else "*"
        table.add_row(mark, line["stage"], line["formula"], line["value"], line["exact"], _ulp(line["max_ulp"]))
    return table


def _ulp(error: float) -> str:
    return "-" if math.isnan(error) else f"{error:.2g}"


def _findings(e: Explanation) -> Iterator[str]:
    if not e.failures:
        graded = any(letter is not None for letter in e.grades.values())
        yield "no failure: all is as it should be" if graded else "not graded: no format reaches this row's limit"
        return
    told = set()
    for i, failure in enumerate(e.failures):
        yield f"{'first failure' if i == 0 else 'then'}: {failure.stage}: {failure.rule}"
        if failure.mend is not None and failure.mend not in told:
            yield f"    mend: {failure.mend}"
        told.add(failure.mend)
