import sys
from pathlib import Path
from typing import Annotated

import typer

from ._shared import Values, check_formats


def report(
    run: Annotated[list[Path], typer.Argument(metavar="RUN", help="One or more run folders.")],
    format: Annotated[
        Values, typer.Option(help="text, markdown, csv, html, latex, figures or json. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write files to this folder.")] = None,
    whole: Annotated[bool, typer.Option("--all", help="Print every table, not the summary only.")] = False,
) -> None:
    """Report which losses are safe and what breaks the others.

    Give several runs to make one report of them. Without --out, print text, Markdown or JSON. Text and Markdown are a
    summary that fits one screen; --all prints every table. If several runs have the same measurement, the report shows
    the first run's. For a damaged or incomplete run, the first lines of the report and standard error list the damage.
    """
    from .. import reports
    from ..storage import store

    formats = format or ["text"]
    check_formats(formats, reports.FORMATS)
    runs = [store.Run(folder) for folder in run]
    for path in reports.write(runs, formats, out, warn=_warn, whole=whole):
        print(path)


def _warn(line: str) -> None:
    print(f"logitlab: {line}", file=sys.stderr)
