"""Tables as text for a terminal, as Markdown and as CSV files."""

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
from ._lines import DTYPES
from ._sections import Section, sections

# Okabe and Ito's palette, told apart with any colour vision; the letters say it without colour too.
_STYLES = {"A": "bold #009e73", "B": "#56b4e9", "C": "#e69f00", "D": "#d55e00", "F": "bold #cc79a7"}
TEXT_WIDTH = 100
NAME_WIDTH = 31


def write(run: Run, formats: Sequence[str], out: Path | None = None, console: Console | None = None) -> list[Path]:
    """Renders the run's tables in each format.

    Without ``out`` text and Markdown go to the console; with it every format becomes files there, whose paths
    are returned.
    """
    found = sections(run.read())
    written: list[Path] = []
    for name in formats:
        if out is None and name in _PRINTERS:
            _PRINTERS[name](console or _console(), run, found)
        else:
            written += _WRITERS[name](run, found, run.folder / "report" if out is None else out)
    return written


def _console() -> Console:
    # Where nobody tells the width, in a pipe or a log, Rich takes 80.
    plain = Console()
    return plain if plain.is_terminal else Console(width=TEXT_WIDTH)


def text(run: Run, found: Sequence[Section]) -> RenderableType:
    """The tables for a terminal."""
    parts: list[RenderableType] = [Text(line) for line in _preamble(run)]
    for section in found:
        parts += ["", Text(section.title, style="bold"), Text(section.note, style="dim"), _rich_table(section)]
    return Group(*parts)


def markdown(run: Run, found: Sequence[Section]) -> str:
    """The tables as one Markdown page."""
    parts = ["# LogitLab report", "  \n".join(_preamble(run))]
    for section in found:
        shown = _shown(section)
        # Tables are data: a pipe or a tag in a message must not become part of the page.
        escaped = shown.map(lambda v: v.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|"))
        parts += [f"## {section.title}", section.note, escaped.to_markdown(index=False, disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def _write_text(run: Run, found: Sequence[Section], out: Path) -> list[Path]:
    page = StringIO()
    Console(file=page, width=TEXT_WIDTH, color_system=None).print(text(run, found))
    return [_save(out / "report.txt", page.getvalue())]


def _write_markdown(run: Run, found: Sequence[Section], out: Path) -> list[Path]:
    return [_save(out / "report.md", markdown(run, found))]


def _write_csv(run: Run, found: Sequence[Section], out: Path) -> list[Path]:
    tables = {s.name: s.table for s in found} | {"measurements": run.read()}
    return [_save(out / f"{name}.csv", table.to_csv(index=False)) for name, table in tables.items()]


_PRINTERS: Mapping[str, Callable[[Console, Run, Sequence[Section]], None]] = {
    "text": lambda console, run, found: console.print(text(run, found)),
    "markdown": lambda console, run, found: console.out(markdown(run, found), highlight=False),
}
_WRITERS: Mapping[str, Callable[[Run, Sequence[Section], Path], list[Path]]] = {
    "text": _write_text,
    "markdown": _write_markdown,
    "csv": _write_csv,
}
FORMATS = tuple(_WRITERS)


def _save(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def _preamble(run: Run) -> list[str]:
    m = run.manifest
    versions = {p: v for of_framework in m["frameworks"].values() for p, v in of_framework.items()}
    lines = [
        f"Run {m['run']} of LogitLab {m['versions']['logitlab']}" + ("" if m["complete"] else ", NOT COMPLETE"),
        "Measured: " + ", ".join(f"{p} {v}" for p, v in versions.items()),
        f"On: {m['hardware']['processor'] or m['hardware']['machine']}, {m['hardware']['system']}",
        f"Catalogue: {len(m['catalogue']['cases'])} cases, {m['catalogue']['hash'][:12]}",
    ]
    if m["left_out"]:
        by_dtype = pd.Series([entry["dtype"] for entry in m["left_out"]]).value_counts()
        told = ", ".join(f"{by_dtype[d]} in {d}" for d in DTYPES if d in by_dtype)
        lines.append(f"Left out, since the dtype would make a finite logit infinite: {told}")
    if m.get("plain_only"):
        lines.append(f"Run on logits and class indices alone, without loss options: {', '.join(m['plain_only'])}")
    return lines + [f"Not installed: {name} ({why})" for name, why in m["missing"].items()]


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
        if "implementation" in line:
            line["implementation"] = _folded(line["implementation"])
        table.add_row(*map(_styled, line.values()))
    return table


def _styled(words: str) -> Text:
    first, _, rest = words.partition(" ")
    return Text.assemble((first, _STYLES[first]), f" {rest}") if first in _STYLES else Text(words)


def _folded(name: str) -> str:
    """A long dotted name broken where it has a joint, and not within a word."""
    lines = [""]
    for piece in re.split(r"(?<=[/._])|(?=\[)", name):
        if lines[-1] and len(lines[-1]) + len(piece) > NAME_WIDTH:
            lines.append("  ")
        lines[-1] += piece
    return "\n".join(lines)
