"""A comparison as people read it, text and Markdown; and the formats that there are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...core import files
from ...core.errors import UsageError
from . import _wording as wording
from ._changes import Change
from ._compare import Comparison
from ._machine import github, json_text, junit

TEXT_WIDTH = 100
_WORSE, _BETTER = "bold #d55e00", "bold #009e73"  # Okabe and Ito's, told apart with any colour vision
_WIDTHS = (18, 8, 20, 12, 10)  # of the columns beneath a cell, at least
_MAX_DETAIL = 60
_WHOLE_DETAIL = 1000  # where every line is shown
_REST = "`logitlab compare BASE NEW --all` prints the rest"
_AT = f"&#{ord('@')};"  # GitHub takes it for the sign itself, and tells the user whose name follows
_MAX_MESSAGE = {"text": 20, "markdown": 10}  # of cells, and of the lines shown
_MAX_NAMES = 3  # of what is neither better nor worse


def write(
    diff: Comparison,
    formats: Sequence[str],
    out: Path | None = None,
    console: Console | None = None,
    *,
    whole: bool = False,
) -> list[Path]:
    """Renders a comparison in each format: printed, or as files of the folder ``out``, whose paths are returned.

    Annotations are printed in any case: GitHub reads them from the log. With ``whole`` text and Markdown have every
    regression and improvement; without it the worst, and how many more there are.

    Raises:
        UsageError: for a file that cannot be written.
    """
    written = []
    for name in formats:
        suffix, render = _RENDERERS[name]
        if out is None or name == "github":
            _print(diff, name, console, whole=whole)
        if out is not None:
            written.append(_save(out / f"compare{suffix}", render(diff, whole)))
    return written


def _print(diff: Comparison, name: str, console: Console | None, *, whole: bool) -> None:
    plain = console or Console()
    if name == "text":
        # Where nobody tells the width, in a pipe or a log, Rich takes 80.
        (console or (plain if plain.is_terminal else Console(width=TEXT_WIDTH))).print(text(diff, whole=whole))
    else:
        (plain.file if console else sys.stdout).write(_RENDERERS[name][1](diff, whole))


def _save(path: Path, content: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, content.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --out") from error
    return path


def text(diff: Comparison, *, whole: bool = False) -> RenderableType:
    """For a terminal; says the same without colour."""
    parts: list[RenderableType] = [Text(wording.headline(diff), style=_WORSE if diff.regressed else _BETTER)]
    parts += map(Text, wording.origins(diff))
    for title, changes, style in (
        ("Regressions", diff.regressions, _WORSE),
        ("Improvements", diff.improvements, _BETTER),
    ):
        if len(changes):
            parts += ["", Text(title, style=style), *_by_cell(changes, None if whole else _MAX_MESSAGE["text"])]
    if len(diff.others):
        others = wording.others_summary(diff, None if whole else _MAX_NAMES)
        parts += ["", Text("Neither better nor worse", style="bold"), *map(Text, others)]
    return Group(*parts)


def _by_cell(changes: pd.DataFrame, most: int | None) -> Iterator[RenderableType]:
    """Each cell with what changed in it, and beneath it some of each kind; all of it where ``most`` is None."""
    cells = list(wording.of_cells(changes))
    parts = list(wording.spread(changes, most))
    detail = _WHOLE_DETAIL if most is None else _MAX_DETAIL
    for (cell, counted, shown), (_, part) in zip(parts, cells, strict=False):
        yield Text.assemble((cell, "bold"), f": {counted}")
        table = Table.grid(padding=(0, 2, 0, 0))
        for width, fold in zip(_WIDTHS, (False, False, True, False, True), strict=True):
            table.add_column(min_width=width, no_wrap=not fold, overflow="fold")
        for of_kind, left in wording.by_kind(part, shown):
            for c in Change.each(of_kind):
                names = (f"  {c.change}", wording.full_name(c.quantity), wording.case_name(c))
                table.add_row(*map(Text, (*names, wording.one_line(c.before), wording.after(c, detail))))
            if left:
                table.add_row(Text(f"  ... and {left:,} more"))
        yield table
    left_cells = len(cells) - len(parts)
    if left_cells > 0:
        yield Text(f"... and {wording.plural(left_cells, 'more cell')}")
    if sum(len(shown) for *_, shown in parts) < len(changes):
        yield Text(_REST)


def markdown(diff: Comparison, *, whole: bool = False) -> str:
    """For a pull request: the verdict first, and no more than a screenful unless all of it is wanted."""
    parts = [
        f"## LogitLab compare: {_escaped(wording.headline(diff))}",
        "\n".join(f"- {_escaped(line)}" for line in wording.origins(diff)),
    ]
    most = None if whole else _MAX_MESSAGE["markdown"]
    for title, changes in (("Regressions", diff.regressions), ("Improvements", diff.improvements)):
        if len(changes):
            parts += [f"### {title}", _page_cells(changes, most)]
        if len(changes) and (whole or title == "Regressions"):
            parts += [_page_lines(changes, most)]
    if len(diff.others):
        others = wording.others_summary(diff, None if whole else _MAX_NAMES)
        parts += ["### Neither better nor worse", "\n".join(f"- {_escaped(line)}" for line in others)]
    return "\n\n".join(parts) + "\n"


def _page_cells(changes: pd.DataFrame, most: int | None) -> str:
    found = list(wording.of_cells(changes))
    lines = [f"| {_code(cell)} | {_escaped(wording.counts(part))} |" for cell, part in found[:most]]
    return _page_table(("cell", "changes"), lines, len(found) - len(lines), "cells")


def _page_lines(changes: pd.DataFrame, most: int | None) -> str:
    lines = []
    detail = _WHOLE_DETAIL if most is None else _MAX_DETAIL
    for c in Change.each(wording.chosen(changes, most)):
        line = (wording.cell_name(c.cell), wording.full_name(c.quantity), wording.case_name(c))
        names = " | ".join(_code(name) if name else "" for name in line)
        new = _code(wording.after(c, detail)) if c.detail else _escaped(wording.after(c, detail))
        lines.append(f"| {c.change} | {names} | {_escaped(wording.one_line(c.before))} | {new} |")
    head = ("change", "cell", "quantity", "case", "before", "after")
    return _page_table(head, lines, len(changes) - len(lines), f"changes; {_REST}")


def _page_table(head: Sequence[str], lines: list[str], left: int, what: str) -> str:
    more = [f"\n... and {left:,} more {what}"] if left > 0 else []
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines, *more])


def _code(text: str) -> str:
    """Text in which nothing is Markdown: no tag, no link, no user who would be notified."""
    # A pipe ends a cell also in code; a backslash before it would free it again.
    inside = re.sub(r"\\*\|", r"\\|", text.replace("`", "'"))
    return f"`{inside}`"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<|@#~&])", lambda found: f"&#{ord(found[1])};", text).replace(_AT, f"{_AT}&#8203;")


def _text(diff: Comparison, *, whole: bool = False) -> str:
    written = StringIO()
    Console(file=written, width=TEXT_WIDTH, color_system=None).print(text(diff, whole=whole))
    return written.getvalue()


_RENDERERS: Mapping[str, tuple[str, Callable[[Comparison, bool], str]]] = {
    "text": (".txt", lambda diff, whole: _text(diff, whole=whole)),
    "markdown": (".md", lambda diff, whole: markdown(diff, whole=whole)),
    "json": (".json", lambda diff, _: json_text(diff)),
    "junit": (".xml", lambda diff, _: junit(diff)),
    "github": (".github", lambda diff, _: github(diff)),
}
FORMATS = tuple(_RENDERERS)
