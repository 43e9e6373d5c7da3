"""A report in each format: text for a terminal, Markdown, CSV, the site, LaTeX, figures and JSON."""

from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

import duckdb
from rich.console import Console

from ..core import strict_json
from ..core.errors import UsageError
from ..core.files import refuse_links
from ..storage.store import Run
from ._csv import write_csv
from ._markdown import markdown
from ._overview import overview
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
    warn: Callable[[str], None] | None = None,
    *,
    whole: bool = False,
) -> list[Path]:
    """Render the report of one run, or of several put together, in each format.

    Args:
        runs: the runs.
        formats: words of `FORMATS`.
        out: the folder of the files. Without one, text, Markdown and JSON are printed.
        console: where to print.
        warn: called with a line for each thing that the runs lack, because of damage or an early stop.
        whole: print every table; without it text and Markdown are a summary of one screen. Text files have every table.

    Returns:
        The paths of the files.

    Raises:
        UsageError: for runs that cannot be read, a folder that cannot be written, or a package that is not installed.
    """
    several = [runs] if isinstance(runs, Run) else list(runs)
    found = make_report(several)
    if warn is not None:
        for message in partial(found.damage):
            warn(message)
    folder = several[0].folder / "report" if out is None else out
    if out is None and folder.is_symlink():
        raise UsageError(
            f"{folder} is a link; LogitLab does not write through links: remove it, or choose another --out"
        )
    refuse_links(folder, _FOLDERS)
    written: list[Path] = []
    try:
        for name in formats:
            if out is None and name in _PRINTERS:
                _PRINTERS[name](console or terminal(), found, whole)
            else:
                written += _WRITERS[name](found, folder, whole)
    except duckdb.Error as error:  # such as too little memory
        run = several[0].folder
        fix = f"to find damage, run `logitlab doctor {run}`"
        raise UsageError(f"cannot make the report of {run}: {error}; {fix}") from error
    if any(name in _FOR_PAPERS for name in formats):
        written.append(write_reproduce(several, formats, folder, partial(found.damage)))
    return written


def _print_text(console: Console, found: Report, *, whole: bool) -> None:
    if whole:
        console.print(text(found, console.width))
    else:
        console.print(overview(found, console.width), highlight=False, soft_wrap=True)


def _text_file(found: Report) -> str:
    written = StringIO()
    Console(file=written, width=WIDTH, color_system=None).print(text(found))
    return written.getvalue()


def _json_text(found: Report) -> str:
    """Strict JSON: missing parts of the runs come before any number, and an infinite number is the word ``inf``."""
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
    return strict_json.document(content)


def _write_csv(found: Report, out: Path) -> list[Path]:
    written = [_save(out / f"{s.name}.csv", s.table.to_csv(index=False)) for s in found.sections]
    measurements = out / "measurements.csv.gz"
    write_csv(found.source.batches(), measurements)
    return [*written, measurements]


_PRINTERS: Mapping[str, Callable[[Console, Report, bool], object]] = {
    "text": lambda console, found, whole: _print_text(console, found, whole=whole),
    "markdown": lambda console, found, whole: console.out(markdown(found, whole=whole), highlight=False),
    "json": lambda console, found, _: console.file.write(_json_text(found)),
}
_WRITERS: Mapping[str, Callable[[Report, Path, bool], list[Path]]] = {
    "text": lambda found, out, _: [_save(out / "report.txt", _text_file(found))],
    "markdown": lambda found, out, whole: [_save(out / "report.md", markdown(found, whole=whole))],
    "csv": lambda found, out, _: _write_csv(found, out),
    "html": lambda found, out, _: write_site(found, out),
    "latex": lambda found, out, _: write_latex(found, out),
    "figures": lambda found, out, _: write_figures(found.source, out),
    "json": lambda found, out, _: [_save(out / "report.json", _json_text(found))],
}
_FOLDERS = ("assets", "cases", "charts", "data", "figures", "implementations", "tables")
_FOR_PAPERS = ("latex", "figures")
FORMATS = tuple(_WRITERS)


def _save(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path
