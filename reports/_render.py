"""A report in the formats that there are: text for a terminal, Markdown, CSV, the site, LaTeX, figures, JSON."""

import json
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

import duckdb
from rich.console import Console

from ..core import strict_json
from ..core.errors import UsageError
from ..core.files import refuse_links
from ..storage.store import Run
from ._brief import brief
from ._csv import write_csv
from ._report import Report, make_report, partial
from ._terminal import WIDTH, text
from ._terminal import console as terminal
from .paper import write_figures, write_latex, write_reproduce
from .site import write_site


def write(
    runs: Run | Sequence[Run],
    formats: Sequence[str],
    out: Path | None = None,
    console: Console | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[Path]:
    """Renders the tables of one run, or of several put together, in each format.

    Without ``out`` text, Markdown and JSON go to the console; with it every format becomes files there, whose paths
    are returned. ``tell`` is given a line for each thing that the runs lack, as damage or since they were stopped.
    """
    several = [runs] if isinstance(runs, Run) else list(runs)
    found = make_report(several)
    if tell is not None:
        for message in partial(found.damage):
            tell(message)
    folder = several[0].folder / "report" if out is None else out
    if out is None and folder.is_symlink():
        raise UsageError(
            f"{folder} is a link; LogitLab does not write through links: remove it, or choose another --out"
        )
    refuse_links(folder, ROOMS)
    written: list[Path] = []
    try:
        for name in formats:
            if out is None and name in _PRINTERS:
                _PRINTERS[name](console or terminal(), found)
            else:
                written += _WRITERS[name](found, folder)
    except duckdb.Error as error:  # such as of memory
        run = several[0].folder
        fix = f"to find damage, run `logitlab doctor {run}`"
        raise UsageError(f"cannot make the report of {run}: {error}; {fix}") from error
    if any(name in _FOR_PAPERS for name in formats):
        written.append(write_reproduce(several, formats, folder, partial(found.damage)))
    return written


def _plain_text(found: Report) -> str:
    written = StringIO()
    Console(file=written, width=WIDTH, color_system=None).print(text(found))
    return written.getvalue()


def _json_text(found: Report) -> str:
    """Strict JSON, with what is missing of the runs before any number, which is the word ``inf`` where infinite."""
    content = {
        "schema": 1,
        "partial": bool(found.damage),
        "missing": found.damage,
        "runs": [
            {name: getattr(m, name) for name in ("run", "complete", "versions", "frameworks", "hardware")}
            for m in found.manifests
        ],
        "tables": {
            s.name: {"title": s.title, "note": s.note, "lines": strict_json.records(s.table)} for s in found.sections
        },
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _write_csv(found: Report, out: Path) -> list[Path]:
    written = [_save(out / f"{s.name}.csv", s.table.to_csv(index=False)) for s in found.sections]
    packed = out / "measurements.csv.gz"
    write_csv(found.source.batches(), packed)
    return [*written, packed]


_PRINTERS: Mapping[str, Callable[[Console, Report], object]] = {
    "text": lambda console, found: console.print(text(found, console.width)),
    "markdown": lambda console, found: console.out(brief(found), highlight=False),
    "json": lambda console, found: console.file.write(_json_text(found)),
}
_WRITERS: Mapping[str, Callable[[Report, Path], list[Path]]] = {
    "text": lambda found, out: [_save(out / "report.txt", _plain_text(found))],
    "markdown": lambda found, out: [_save(out / "report.md", brief(found))],
    "csv": _write_csv,
    "html": write_site,
    "latex": write_latex,
    "figures": lambda found, out: write_figures(found.source, out),
    "json": lambda found, out: [_save(out / "report.json", _json_text(found))],
}
ROOMS = ("assets", "cases", "charts", "data", "figures", "implementations", "tables")
_FOR_PAPERS = ("latex", "figures")
FORMATS = tuple(_WRITERS)


def _save(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path
