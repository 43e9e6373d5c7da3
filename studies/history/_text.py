"""A history as text for a terminal and as Markdown."""

from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import groupby

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...reports.markdown_code import code_span, pipe_table
from ..compare import CELL, Kind
from ._history import History
from ._stretches import HEAD, Stretch, stretches

WIDTH = 120
STEP_HEAD = ("version", "quantity", "change", "case", "before", "after", "better or worse")
MAX_DETAIL = 60


def text(found: History) -> str:
    """Return the headline, the steps of each cell, and a table of each cell's results over versions."""
    written = StringIO()
    console = Console(file=written, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    for line in (found.headline, *found.notes):
        console.print(Text(line))
    _print_section(console, "What changed", STEP_HEAD, list(_steps(found.steps)))
    _print_section(console, "Results over versions", HEAD, _results(found))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"


def _print_section(
    console: Console, title: str, head: Sequence[str], cells: Sequence[tuple[str, Sequence[Sequence[str]]]]
) -> None:
    if cells:
        console.print(Text(f"\n{title}"))
    for cell, lines in cells:
        console.print(Text(f"\n{cell}"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
        for name in head:
            table.add_column(name, overflow="fold")
        for line in lines:
            table.add_row(*map(Text, line))
        console.print(table)


def markdown(found: History) -> str:
    """Return the same as a page: a table of the steps, and one of the results."""
    parts = [f"## LogitLab history: {found.headline}", "\n".join(f"- {note}" for note in found.notes)]
    if steps := steps_table(found):
        parts.append(f"### What changed\n\n{steps}")
    parts.append(f"### Results over versions\n\n{results_table(found)}")
    return "\n\n".join(filter(None, parts)) + "\n"


def steps_table(found: History) -> str:
    """Return a Markdown table of the versions at which more than bits changed; empty if there are none."""
    lines = [(code_span(cell), *_spans(line)) for cell, of_cell in _steps(found.steps) for line in of_cell]
    return _table(("measured", *STEP_HEAD), lines) if lines else ""


def results_table(found: History) -> str:
    """Return a Markdown table of the results, with one line for versions in a row without a difference."""
    lines = [(code_span(cell), *line) for cell, of_cell in _results(found) for line in of_cell]
    return _table(("measured", *HEAD), lines)


def _results(found: History) -> list[tuple[str, list[Stretch]]]:
    return list(stretches(found.points))


def _steps(steps: pd.DataFrame) -> Iterator[tuple[str, list[Sequence[str]]]]:
    """Yield each cell with the words of its steps, without steps in bits only."""
    shown = steps[steps["change"] != Kind.BITS_CHANGED].to_dict("records")
    for cell, of_cell in groupby(shown, key=lambda step: " ".join(str(step[c]) for c in CELL)):
        yield cell, [
            (
                step["version"], step["quantity"], step["change"],
                step["case"] + ("" if pd.isna(step["row"]) else f"[{step['row']}]"),
                step["before"], step["after"] + (f": {step['detail'][:MAX_DETAIL]}" if step["detail"] else ""),
                _counts(step["regressions"], step["improvements"]),
            )
            for step in of_cell
        ]  # fmt: skip


def _counts(worse: int, better: int) -> str:
    return ", ".join(f"{number:,} {word}" for number, word in ((worse, "worse"), (better, "better")) if number)


def _spans(line: Sequence[str]) -> list[str]:
    version, quantity, change, case, before, after, counts = line
    return [version, quantity, change, *(code_span(word) if word else "" for word in (case, before, after)), counts]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return pipe_table([head, ["---"] * len(head), *lines])
