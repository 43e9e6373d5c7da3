"""A comparison in each format: text and Markdown for people, JSON, JUnit XML and GitHub's annotations for programs."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...core import files, strict_json
from ...core.counting import count
from ...core.errors import UsageError
from ...reports import ci
from . import _wording as wording
from ._changes import Change, Kind
from ._compare import Comparison
from ._lines import CELL
from ._markdown import markdown

TEXT_WIDTH = 100
_WORSE, _BETTER = "bold #d55e00", "bold #009e73"  # Okabe and Ito's colours, distinct for any colour vision
_WIDTHS = (18, 8, 20, 12, 10)  # smallest widths of the columns below a cell
_MAX_DETAIL = 60
_WHOLE_DETAIL = 1000  # characters of a message if every line is shown
_REST = "`logitlab compare BASE NEW --all` prints the rest"
_MAX_CELLS = 20  # and as many of the lines shown
_MAX_NAMES = 3  # names of other changes
_SCHEMA = 1  # of the JSON format
_MAX_LINES = {"junit": 20, "github": 3}
_MACHINE_DETAIL = 400


def write(diff: Comparison, formats: Sequence[str], out: Path | None = None, *, whole: bool = False) -> list[Path]:
    """Print a comparison in each format, or write it to files of the folder ``out``, and return their paths.

    GitHub annotations are always printed, since GitHub reads them from the log. With ``whole``, text and Markdown list
    every regression and improvement; without it, the worst ones and the number of others.

    Raises:
        UsageError: for a file that cannot be written.
    """
    written = []
    for name in formats:
        suffix, render = _RENDERERS[name]
        if out is None or name == "github":
            _print(diff, name, whole=whole)
        if out is not None:
            written.append(_save(out / f"compare{suffix}", render(diff, whole)))
    return written


def _print(diff: Comparison, name: str, *, whole: bool) -> None:
    console = Console()
    if name == "text":
        # In a pipe or a log Rich would use 80 columns.
        (console if console.is_terminal else Console(width=TEXT_WIDTH)).print(text(diff, whole=whole))
    else:
        sys.stdout.write(_RENDERERS[name][1](diff, whole))


def _save(path: Path, content: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, content.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --out") from error
    return path


def text(diff: Comparison, *, whole: bool = False) -> RenderableType:
    """Render a comparison for a terminal; no information is in the colours alone."""
    parts: list[RenderableType] = [Text(wording.headline(diff), style=_WORSE if diff.regressed else _BETTER)]
    parts += map(Text, wording.origins(diff))
    if advice := wording.advice(diff):
        parts.append(Text(advice))
    sections = ("Regressions", diff.regressions, _WORSE), ("Improvements", diff.improvements, _BETTER)
    for title, changes, style in sections:
        if len(changes):
            parts += ["", Text(title, style=style), *_by_cell(changes, None if whole else _MAX_CELLS)]
    if len(diff.others):
        others = wording.others_summary(diff, None if whole else _MAX_NAMES)
        parts += ["", Text("Neither better nor worse", style="bold"), *map(Text, others)]
    return Group(*parts)


def _by_cell(changes: pd.DataFrame, most: int | None) -> Iterator[RenderableType]:
    """Yield each cell with its counts, and below it some changes of each kind, or all if ``most`` is None."""
    cells = list(wording.of_cells(changes))
    listed = cells[:most]
    most_of_cell = None if most is None else max(1, most // len(listed))
    detail = _WHOLE_DETAIL if most is None else _MAX_DETAIL
    left_out = 0
    for cell, part in listed:
        yield Text.assemble((cell, "bold"), f": {wording.counts(part)}")
        table = Table.grid(padding=(0, 2, 0, 0))
        for width, fold in zip(_WIDTHS, (False, False, True, False, True), strict=True):
            table.add_column(min_width=width, no_wrap=not fold, overflow="fold")
        numbers = part["change"].value_counts()
        for kind, of_kind in wording.chosen(part, most_of_cell).groupby("change", sort=False):
            for c in Change.each(of_kind):
                names = (f"  {c.change}", wording.full_name(c.quantity), wording.case_name(c))
                table.add_row(*map(Text, (*names, wording.one_line(c.before), wording.after(c, detail))))
            if left := int(numbers[kind]) - len(of_kind):
                table.add_row(Text(f"  ... and {left:,} more"))
            left_out += left
        yield table
    if beyond := len(cells) - len(listed):
        yield Text(f"... and {count(beyond, 'more cell')}")
    if left_out or beyond:
        yield Text(_REST)


def _text(diff: Comparison, *, whole: bool = False) -> str:
    written = StringIO()
    Console(file=written, width=TEXT_WIDTH, color_system=None).print(text(diff, whole=whole))
    return written.getvalue()


def json_text(diff: Comparison) -> str:
    """Render a comparison as strict JSON: an infinite number is the string ``inf``, a missing one null.

    ``changes`` has every change except changed bits, which may be hundreds of thousands; ``cells`` counts them.
    """
    listed = diff.changes[diff.changes["change"] != Kind.BITS_CHANGED]
    content = {
        "schema": _SCHEMA,
        "notes": list(diff.notes),
        "verdict": "regressed" if diff.regressed else "unchanged" if diff.empty else "not regressed",
        "compared": diff.compared,
        "regressions": len(diff.regressions),
        "improvements": len(diff.improvements),
        "others": len(diff.others),
        "factor": diff.factor,
        "before": {"name": diff.before.name, "facts": dict(diff.before.facts)},
        "after": {"name": diff.after.name, "facts": dict(diff.after.facts)},
        "cells": strict_json.records(diff.cells),
        "changes": strict_json.records(listed),
    }
    return strict_json.document(content)


def junit(diff: Comparison) -> str:
    """Render a comparison as JUnit XML: a suite for each implementation, a test for each cell and quantity."""
    key = [*CELL, "quantity"]
    regressions = dict(tuple(diff.regressions.groupby(key, sort=False)))
    tests = []
    for implementation, part in diff.cells.groupby("implementation", sort=True):
        for cell in part[key].itertuples(index=False, name=None):
            changes = regressions.get(cell)
            tests.append(
                ci.JunitTest(
                    wording.full_name(implementation),
                    wording.one_line(" ".join(filter(None, cell[1:]))),
                    None if changes is None else wording.counts(changes),
                    "regression",
                    "" if changes is None else "\n".join(_lines(changes, _MAX_LINES["junit"])),
                )
            )
    return ci.junit("logitlab compare", tests)


def _lines(changes: pd.DataFrame, most: int) -> list[str]:
    """Return some changes of each kind, and the number of others."""
    shown = wording.chosen(changes, most)
    left = len(changes) - len(shown)
    return [*map(_line, Change.each(shown)), *([f"... and {left} more"] if left else [])]


def _line(change: Change) -> str:
    what = "".join(f"{word} " for word in (wording.full_name(change.quantity), wording.case_name(change)) if word)
    moved = " -> ".join(filter(None, (wording.one_line(change.before), wording.after(change, _MACHINE_DETAIL))))
    return f"{change.change}: {what}{moved}"


def github(diff: Comparison) -> str:
    """Yield GitHub workflow commands: an error for each of the worst cells, and a notice with the summary."""
    return "\n".join(_annotations(diff)) + "\n"


def _annotations(diff: Comparison) -> Iterator[str]:
    cells = list(wording.of_cells(diff.regressions))
    for title, changes in cells[: ci.MAX_ANNOTATIONS]:
        yield ci.annotation(
            "error", title, "\n".join([wording.counts(changes), *_lines(changes, _MAX_LINES["github"])])
        )
    beyond = [f"{len(cells) - ci.MAX_ANNOTATIONS} more cells regressed"] if len(cells) > ci.MAX_ANNOTATIONS else []
    yield ci.annotation(
        "notice", "logitlab compare", "\n".join([wording.headline(diff), *wording.origins(diff), *beyond])
    )


_RENDERERS: Mapping[str, tuple[str, Callable[[Comparison, bool], str]]] = {
    "text": (".txt", lambda diff, whole: _text(diff, whole=whole)),
    "markdown": (".md", lambda diff, whole: markdown(diff, whole=whole)),
    "json": (".json", lambda diff, _: json_text(diff)),
    "junit": (".xml", lambda diff, _: junit(diff)),
    "github": (".github", lambda diff, _: github(diff)),
}
FORMATS = tuple(_RENDERERS)
