"""What a check found, in a hundred columns: grades, properties, the worst rows, the smallest input that shows it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...core.errors import UsageError
from ...core.files import must_hold_no_links, refuse_existing
from ._measure import Required
from ._presentation import CATALOGUED

if TYPE_CHECKING:
    from ._check import CheckResult

FILES = ("report.txt", "failures.csv", "properties.csv", "reproduce.py")
WIDTH = 100
WORST = 10  # rows that are shown


def show(result: CheckResult, console: Console | None = None) -> None:
    """Prints the result."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    out.print(Group(*_parts(result)))
    if result.script is not None:
        out.print("\nThe smallest input found that fails, as a program of its own:\n")
        out.print(result.script, soft_wrap=True)  # a program is not broken at a margin


def text(result: CheckResult) -> str:
    """The same as text."""
    written = io.StringIO()
    show(result, Console(file=written, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def prepare(folder: Path) -> None:
    """Checks, before anything is measured, that `write` can write into a folder, and makes it.

    Raises:
        UsageError: if the folder cannot be made, holds links, or has one of the files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error}; choose another folder") from error
    must_hold_no_links(folder)
    for name in FILES:
        refuse_existing(folder / name, "folder")


def write(result: CheckResult, folder: Path) -> Iterator[Path]:
    """Writes ``report.txt``, ``failures.csv``, ``properties.csv``, and ``reproduce.py`` where something fails.

    Raises:
        UsageError: as `prepare`.
    """
    prepare(folder)
    contents = (text(result) + "\n", result.failures.to_csv(index=False), result.properties.to_csv(index=False))
    for name, content in zip(FILES, (*contents, result.script), strict=True):
        if content is not None:
            (folder / name).write_text(content, encoding="utf-8")
            yield folder / name


def _parts(result: CheckResult) -> Iterator[RenderableType]:
    where = f"{result.framework} {result.version}, {result.device}, {result.mode}"
    required = Required(result.required_loss, result.required_gradient)
    yield Text(f"{result.name}: {'passed' if result.passed else 'FAILED'}, {required} required ({where})")
    if result.options:
        yield Text(f"Measured with and without {', '.join(result.options)}")
    yield _grades(result)
    if result.failures.empty:
        if not result.passed:
            yield Text("Nothing was measured: " + _nothing(result))
        return
    yield Text("")
    yield _properties(result)
    yield Text("")
    yield _worst(result)


def _nothing(result: CheckResult) -> str:
    told = result.lines["detail"].dropna().unique()
    return str(told[0]) if len(told) else "no case is held by the dtypes"


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        right = name in ("rows", "failed", "ulp")
        table.add_column(name, overflow="fold", justify="right" if right else "left", no_wrap=name == "worst rows")
    return table


def _grades(result: CheckResult) -> Table:
    table = _table("dtype", "loss", "gradient", "rows", "failed")
    failed = result.failures["dtype"].value_counts()
    for dtype, grades in result.grades_by_quantity.items():
        rows = int((result.lines["dtype"] == dtype).sum())
        both = (grades.get("loss", "-"), grades.get("gradient", "-"))
        table.add_row(dtype, *both, f"{rows:,}", f"{int(failed.get(dtype, 0)):,}")
    return table


def _properties(result: CheckResult) -> Table:
    """A line a property: in each dtype it holds, or fails on so many of the rows that try it."""
    found = result.properties
    dtypes = list(result.grades_by_quantity)
    table = _table("property: rows that fail it", *dtypes)
    for name, lines in found.groupby("property", sort=False):
        told = {
            dtype: "holds" if held else f"{failed:,} of {rows:,}"
            for dtype, rows, failed, held in zip(
                lines["dtype"], lines["rows"], lines["failed"], lines["held"], strict=True
            )
            if rows
        }
        table.add_row(str(name), *(told.get(dtype, "not tried") for dtype in dtypes))
    return table


def _worst(result: CheckResult) -> Table:
    """The worst row of each case and quantity, as far as there is room."""
    table = _table("worst rows", "in", "quantity", "grade", "given", "exact", "ulp", "presented")
    distinct = result.failures.drop_duplicates(["case", "quantity", "status"])
    for line in distinct.head(WORST).to_dict("records"):
        raised = line["status"] != "ok"
        # A gradient is a row of numbers: its error is told, its numbers are the program's to print.
        given, exact = ("", "") if line["quantity"] == "gradient" else (_number(line["value"]), _number(line["exact"]))
        table.add_row(
            f"{line['case']}[{line['row']}]", str(line["dtype"]), str(line["quantity"]), _grade(line),
            str(line["detail"]) if raised else given, exact, _ulp(line["max_ulp"]), _presented(line),
        )  # fmt: skip
    return table


def _presented(line: dict[Any, Any]) -> str:
    return "" if line["how"] == str(CATALOGUED) else str(line["how"])


def _grade(line: dict[Any, Any]) -> str:
    if line["status"] != "ok":
        return str(line["status"])
    return str(line["verdict"] if pd.isna(line["grade"]) else line["grade"])


def _number(value: Any) -> str:
    return "" if value is None or value is pd.NA else f"{value:.6g}"


def _ulp(error: Any) -> str:
    return "" if pd.isna(error) else f"{error:.3g}"
