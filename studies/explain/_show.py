"""An explanation on a terminal, in a hundred columns."""

import math
from collections.abc import Iterator

import pandas as pd
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from ...core.vocabulary import SOUND, Grade, Problem
from ...grading.first_failure import short
from .._cells import REDUCED
from ._explanation import Explanation

WIDTH = 100
ROWS = 8  # shown row losses


def show(explanation: Explanation, console: Console | None = None) -> None:
    """Print the case and cell, a table of the stages, the grade of each quantity with its reason, and the failures."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    for line in _heading(explanation):
        out.print(line)
    if len(explanation.stages):
        out.print(_table(explanation))
    if explanation.row_losses is not None and len(explanation.row_losses):
        out.print(_row_losses(explanation.row_losses))
        more = len(explanation.row_losses) - ROWS
        if more > 0:
            out.print(f"   and {more} more row{'s' * (more > 1)}, of no worse grade")
    for line in (*(a.text for a in explanation.assessments), *explanation.remarks):
        out.print(line, soft_wrap=False)
    for line in _findings(explanation):
        out.print(line, soft_wrap=False)


def _heading(e: Explanation) -> Iterator[str]:
    whole = "the whole batch" if e.problem is Problem.LINEAR else "the reduced loss"
    what = whole if e.row == REDUCED else f"row {e.row}"
    mode = "" if e.mode == "eager" else f", {e.mode}"
    yield f"{e.case}, {what}, {e.implementation} in {e.dtype} on {e.device}{mode}"
    grades = ", ".join(f"{quantity} {grade or 'not graded'}" for quantity, grade in e.grades.items())
    few = f"; classes {', '.join(map(str, e.classes))} of {e.width} are shown" if 0 < len(e.classes) < e.width else ""
    yield f"{e.given}; grades: {grades or 'none'}{few}"


def _table(e: Explanation) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    # Without a fixed width, long values would squeeze the names.
    for name, width in (("", 1), ("stage", 15), ("formula", 22), ("computed", 25), ("exact", 27)):
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


def _row_losses(rows: pd.DataFrame) -> Padding:
    """Return a table of the row losses; of many, those with the worst grades."""
    shown = rows
    if len(rows) > ROWS:
        by_grade = rows.assign(order=rows["grade"].fillna("")).sort_values(["order", "max_ulp"], ascending=False)
        shown = rows.loc[by_grade.index[:ROWS]].sort_index()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("row", "target", "row loss", "exact", "ulp", "grade"):
        table.add_column(name, justify="right")
    for line in shown.to_dict("records"):
        target = "probabilities" if pd.isna(line["target"]) else str(line["target"])
        grade = "-" if pd.isna(line["grade"]) else line["grade"]
        numbers = short(line["value"]), short(line["exact"]), _ulp(line["max_ulp"])
        table.add_row(str(line["row"]), target, *numbers, grade)
    return Padding(table, (0, 0, 0, 3))


def _findings(e: Explanation) -> Iterator[str]:
    if not e.failures:
        if "loss" in e.grades and set(e.grades.values()) == {Grade.A}:
            yield "no stage failed"
        return
    # A and B are not failures. An ungraded quantity is one if its verdict names an error.
    sound = all(a.verdict in SOUND if a.grade is None else a.grade in (Grade.A, Grade.B) for a in e.assessments)
    head = "digits are lost first in" if sound else "first failure"
    fixes = set()
    for i, failure in enumerate(e.failures):
        yield f"{head if i == 0 else 'then'}: {failure.stage}: {failure.rule}"
        if failure.fix is not None and failure.fix not in fixes:
            yield f"    fix: {failure.fix}"
        fixes.add(failure.fix)
