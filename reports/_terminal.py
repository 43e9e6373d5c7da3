"""The tables of a report for a terminal: they fit its width, and colour is never the only sign."""

from __future__ import annotations

import os
import re

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ._report import PARTIAL, Report
from .charts.palette import GRADE_COLOURS
from .tables.sections import Section

WIDTH = 100  # columns, if the width of the terminal is unknown
MIN_NAME, MAX_NAME = 14, 31  # width of a column of names
CELL_WIDTH = 15  # of another column, before prose gets its room
_NAMES = ("implementation", "lowest", "highest")
GRADE_STYLES = {grade: f"bold {colour}" if grade in "AF" else colour for grade, colour in GRADE_COLOURS.items()}


def console() -> Console:
    """Return a console as wide as the terminal; in a pipe or a log as wide as ``COLUMNS`` says, or `WIDTH`."""
    plain = Console()
    return plain if plain.is_terminal or "COLUMNS" in os.environ else Console(width=WIDTH)


def text(found: Report, width: int = WIDTH) -> RenderableType:
    """Return the tables for a terminal of ``width`` columns."""
    parts: list[RenderableType] = [
        Text(line, style=GRADE_STYLES["F"] if line.startswith(PARTIAL) else "") for line in found.preamble
    ]
    for section in found.sections:
        parts += ["", Text(section.title, style="bold"), Text(section.note, style="dim"), _table(section, width)]
    return Group(*parts)


def _table(section: Section, width: int) -> Table:
    # Leave out the framework, which the name starts with, and the usual device and mode.
    shown = section.shown.drop(columns="framework", errors="ignore")
    unsaid = [c for c, word in (("device", "cpu"), ("mode", "eager")) if c in shown and set(shown[c]) == {word}]
    shown = shown.drop(columns=unsaid).map(lambda v: "" if pd.isna(v) else " ".join(str(v).split()))
    widths = _widths(shown, width)
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=0, pad_edge=False)
    for column in shown.columns:
        table.add_column(Text(column), overflow="fold", width=widths[column])
    columns = [(widths[column], "  " if column in _NAMES else "") for column in shown.columns]
    for line in shown.itertuples(index=False):
        cells = (folded(words, room, indent) for words, (room, indent) in zip(line, columns, strict=True))
        table.add_row(*map(_styled, cells))
    return table


def _widths(shown: pd.DataFrame, width: int) -> dict[str, int]:
    """The width of each column, such that a line fits and no word is broken; columns share the room left over.

    Rich would divide the room by the length of whole cells, and break numbers.
    """
    wanted = {c: max(map(len, [c, *shown[c]])) for c in shown.columns}
    widths = {c: min(wanted[c], MIN_NAME) if c in _NAMES else _needed(c, shown[c]) for c in shown.columns}
    left = width - len(widths) - 1 - sum(widths.values())  # a blank between columns and at both ends
    while left < 0 and max(widths.values()) > 1:
        widths[max(widths, key=lambda c: widths[c])] -= 1
        left += 1
    for most in ({c: MAX_NAME if c in _NAMES else CELL_WIDTH for c in widths}, wanted):
        growing = [c for c in widths if widths[c] < min(wanted[c], most[c])]
        while left > 0 and growing:
            for column in growing[:left]:
                widths[column] += 1
            left -= len(growing[:left])
            growing = [c for c in growing if widths[c] < min(wanted[c], most[c])]
    return widths


def _needed(heading: str, words: pd.Series[str]) -> int:
    """The least width that breaks no word or piece of a name."""
    pieces = {piece for cell in {heading, *words} for line in _pieces(cell) for piece in line.split()}
    return min(max(map(len, pieces), default=1), CELL_WIDTH)


def _styled(words: str) -> Text:
    first = words[:1] if words[1:2] in ("", " ", "\n") else ""
    return Text.assemble((first, GRADE_STYLES[first]), words[1:]) if first in GRADE_STYLES else Text(words)


def _pieces(words: str) -> list[str]:
    return re.split(r"(?<=[/_ ])|(?<=[A-Za-z]\.)|(?=\[)", words)


def folded(words: str, width: int, indent: str = "") -> str:
    """Return a long dotted name with line breaks at its joints, and within a piece only if the piece is too wide."""
    if words.count(" ") > 1:
        return words
    lines = [""]
    for piece in _pieces(words):
        if lines[-1].strip() and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append(indent)
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], indent + lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)
