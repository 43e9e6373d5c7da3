import sys
from pathlib import Path
from typing import Annotated

import typer

from ._shared import Values, check_formats


def report(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    format: Annotated[
        Values, typer.Option(help="text, markdown, csv, html, latex, figures or json; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write files here.")] = None,
) -> None:
    """Make the tables of a run, or of several put together.

    Text, Markdown and JSON are printed where no --out is given. What several runs have measured is taken from the
    first. A report of a damaged or unfinished run says so in its first lines and on standard error.
    """
    from .. import reports
    from ..storage import store

    formats = format or ["text"]
    check_formats(formats, reports.FORMATS)
    runs = [store.Run(folder) for folder in run]
    for path in reports.write(runs, formats, out, tell=lambda line: print(f"logitlab: {line}", file=sys.stderr)):
        print(path)
