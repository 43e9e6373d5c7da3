"""A report in the formats that there are: text for a terminal, Markdown, CSV, LaTeX and figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..store import Run
from ._brief import brief
from ._page import Page, page
from ._sections import Section
from .paper import write_figures, write_latex, write_reproduce

# Okabe and Ito's palette, told apart with any colour vision; the letters say it without colour too.
_STYLES = {"A": "bold #009e73", "B": "#56b4e9", "C": "#e69f00", "D": "#d55e00", "F": "bold #cc79a7"}
TEXT_WIDTH = 100
NAME_WIDTH, CELL_WIDTH = 31, 13
_NAMES = ("implementation", "lowest", "highest")


def write(
    runs: Run | Sequence[Run], formats: Sequence[str], out: Path | None = None, console: Console | None = None
) -> list[Path]:
    """Renders the tables of one run, or of several put together, in each format.

    Without ``out`` text and Markdown go to the console; with it every format becomes files there, whose paths
    are returned.
    """
    several = [runs] if isinstance(runs, Run) else list(runs)
    found = page(several)
    folder = several[0].folder / "report" if out is None else out
    written: list[Path] = []
    for name in formats:
        if out is None and name in _PRINTERS:
            _PRINTERS[name](console or _console(), found)
        else:
            written += _WRITERS[name](found, folder)
    if any(name in _FOR_PAPERS for name in formats):
        written.append(write_reproduce(several, formats, folder))
    return written


def _console() -> Console:
    # Where nobody tells the width, in a pipe or a log, Rich takes 80.
    plain = Console()
    return plain if plain.is_terminal else Console(width=TEXT_WIDTH)


def text(found: Page) -> RenderableType:
    """The tables for a terminal."""
    parts: list[RenderableType] = [Text(line) for line in found.preamble]
    for section in found.sections:
        parts += ["", Text(section.title, style="bold"), Text(section.note, style="dim"), _rich_table(section)]
    return Group(*parts)


def _write_text(found: Page, out: Path) -> list[Path]:
    written = StringIO()
    Console(file=written, width=TEXT_WIDTH, color_system=None).print(text(found))
    return [_save(out / "report.txt", written.getvalue())]


def _write_markdown(found: Page, out: Path) -> list[Path]:
    return [_save(out / "report.md", brief(found))]


def _write_csv(found: Page, out: Path) -> list[Path]:
    written = [_save(out / f"{s.name}.csv", s.table.to_csv(index=False)) for s in found.sections]
    # A full run has hundreds of thousands of lines, and a tenth of their size when packed.
    packed = out / "measurements.csv.gz"
    found.measurements.to_csv(packed, index=False, compression={"method": "gzip", "compresslevel": 1, "mtime": 0})
    return [*written, packed]


_PRINTERS: Mapping[str, Callable[[Console, Page], None]] = {
    "text": lambda console, found: console.print(text(found)),
    "markdown": lambda console, found: console.out(brief(found), highlight=False),
}
_WRITERS: Mapping[str, Callable[[Page, Path], list[Path]]] = {
    "text": _write_text,
    "markdown": _write_markdown,
    "csv": _write_csv,
    "latex": write_latex,
    "figures": lambda found, out: write_figures(found.measurements, out),
}
_FOR_PAPERS = ("latex", "figures")
FORMATS = tuple(_WRITERS)


def _save(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def _shown(section: Section) -> pd.DataFrame:
    """The section's words without what says nothing: the framework, which the name begins with, and a lone CPU."""
    table = section.shown.drop(columns="framework", errors="ignore")
    if "device" in table and set(table["device"]) == {"cpu"}:
        table = table.drop(columns="device")
    return table.map(lambda v: "" if pd.isna(v) else str(v))


def _rich_table(section: Section) -> Table:
    shown = _shown(section)
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=0, pad_edge=False)
    for column in shown.columns:
        table.add_column(
            column,
            overflow="fold",
            no_wrap=column in ("implementation", "mode") or column.startswith(("loss", "grad", "mean")),
        )
    for line in shown.to_dict("records"):
        folded = (
            _folded(words, NAME_WIDTH, "  ") if column in _NAMES else _folded(words, CELL_WIDTH)
            for column, words in line.items()
        )
        table.add_row(*map(_styled, folded))
    return table


def _styled(words: str) -> Text:
    first = words[:1] if words[1:2] in ("", " ") else ""
    return Text.assemble((first, _STYLES[first]), words[1:]) if first in _STYLES else Text(words)


def _folded(words: str, width: int, indent: str = "") -> str:
    """A long dotted name broken where it has a joint, and not within a word; prose is left to the table."""
    if words.count(" ") > 1:
        return words
    lines = [""]
    for piece in re.split(r"(?<=[/._ ])|(?=\[)", words):
        if lines[-1].strip() and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append(indent)
        lines[-1] += piece
    return "\n".join(lines)
