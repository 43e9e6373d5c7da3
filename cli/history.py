import sys
from pathlib import Path
from typing import Annotated

import typer

from ._completion import complete_formats
from ._shared import GrowthFactor, Implementations, Values, check_formats


def history(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run folders, packed runs, baselines, or folders of these."),
    ],
    implementation: Implementations = None,
    dtype: Annotated[
        Values, typer.Option(help="A dtype; those of the runs by default. Repeatable.", autocompletion=complete_formats)
    ] = None,
    only_regressions: Annotated[
        bool, typer.Option("--only-regressions", help="Show only results that got worse, and where.")
    ] = False,
    format: Annotated[Values, typer.Option(help="text, markdown, json, csv, figures or html. Repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write files to this folder.")] = None,
    factor: GrowthFactor = 2.0,
) -> None:
    """Show grades and errors of each implementation over versions.

    Each run is one version of its packages. The result has a line for each implementation, dtype, quantity and
    version, in the order of the versions. It names each version at which something changed, the size of the change,
    and a case that shows it.

    The exit code is 0 without a regression, 1 with one, and 2 if runs cannot be read or compared. Regressions are
    those of `compare`.
    """
    from ..studies import history as over_versions

    formats = format or ["text"]
    check_formats(formats, over_versions.FORMATS)
    found = over_versions.history(runs, implementations=implementation, dtypes=dtype, factor=factor)
    shown = found.only_regressions() if only_regressions else found
    for path in over_versions.write(shown, formats, out):
        print(path)
    for reason in found.not_compared:
        print(f"logitlab: {reason}", file=sys.stderr)
    raise typer.Exit(found.exit_code)
