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
) -> None:
    """Print or write the tables of one or more runs.

    Without --out, print text, Markdown or JSON. If several runs have the same measurement, the report shows the first
    run's. A report of a damaged or incomplete run says so in its first lines and on standard error.
    """
    from .. import reports
    from ..storage import store

    formats = format or ["text"]
    check_formats(formats, reports.FORMATS)
    runs = [store.Run(folder) for folder in run]
    for path in reports.write(runs, formats, out, tell=lambda line: print(f"logitlab: {line}", file=sys.stderr)):
        print(path)
