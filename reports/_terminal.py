"""A report for a terminal: tables that fit its width, of words that say without colour what the colours do."""

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

WIDTH = 100  # where nobody tells the terminal's
NARROWEST, WIDEST = 14, 31  # of a column of names
CELL_WIDTH = 15  # of another, before prose gets its room
_NAMES = ("implementation", "lowest", "highest")
GRADE_STYLES = {grade: f"bold {colour}" if grade in "AF" else colour for grade, colour in GRADE_COLOURS.items()}


def console() -> Console:
    """Where a report is printed to: as wide as the terminal, or as ``COLUMNS`` says in a pipe or a log, or `WIDTH`."""
    plain = Console()
    return plain if plain.is_terminal or "COLUMNS" in os.environ else Console(width=WIDTH)


def text(found: Report, width: int = WIDTH) -> RenderableType:
    """The tables for a terminal of so many columns."""
    parts: list[RenderableType] = [
        Text(line, style=GRADE_STYLES["F"] if line.startswith(PARTIAL) else "") for line in found.preamble
    ]
    for section in found.sections:
        parts += ["", Text(section.title, style="bold"), Text(section.note, style="dim"), _table(section, width)]
    return Group(*parts)


def _table(section: Section, width: int) -> Table:
    # What says nothing is left out: the framework, which the name begins with, a lone CPU or mode.
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
    """The width of each column, so that a line fits: no word is broken, and what is over is shared.

    Rich divides the room by the length of whole cells, and breaks numbers where it is short.
    """
    wanted = {c: max(map(len, [c, *shown[c]])) for c in shown.columns}
    widths = {c: min(wanted[c], NARROWEST) if c in _NAMES else _needed(c, shown[c]) for c in shown.columns}
    left = width - len(widths) - 1 - sum(widths.values())  # columns are one apart, and one from the ends of a line
    while left < 0 and max(widths.values()) > 1:
        widths[max(widths, key=lambda c: widths[c])] -= 1
        left += 1
    for most in ({c: WIDEST if c in _NAMES else CELL_WIDTH for c in widths}, wanted):
        growing = [c for c in widths if widths[c] < min(wanted[c], most[c])]
        while left > 0 and growing:
            for column in growing[:left]:
                widths[column] += 1
            left -= len(growing[:left])
            growing = [c for c in growing if widths[c] < min(wanted[c], most[c])]
    return widths


def _needed(heading: str, words: pd.Series[str]) -> int:
    """The width below which a column would break a word, or a piece of a name: of most, and of a heading's words."""
    pieces = {piece for cell in {heading, *words} for line in _pieces(cell) for piece in line.split()}
    return min(max(map(len, pieces), default=1), CELL_WIDTH)


def _styled(words: str) -> Text:
    first = words[:1] if words[1:2] in ("", " ", "\n") else ""
    return Text.assemble((first, GRADE_STYLES[first]), words[1:]) if first in GRADE_STYLES else Text(words)


def _pieces(words: str) -> list[str]:
    return re.split(r"(?<=[/_ ])|(?<=[A-Za-z]\.)|(?=\[)", words)


def folded(words: str, width: int, indent: str = "") -> str:
    """A long dotted name broken where it has a joint, and within a word only where that alone is wider."""
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
