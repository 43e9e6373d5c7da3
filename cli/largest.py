from pathlib import Path
from typing import Annotated

import typer

from ._completion import complete_dtypes
from ._shared import Implementations, Values, check_formats, show_progress


def largest(
    run: Annotated[list[Path] | None, typer.Argument(metavar="RUN", help="Run folders, as sources of errors.")] = None,
    case_file: Annotated[
        Values, typer.Option(help="A case file, such as the findings of a hunt, to measure too. Repeatable.")
    ] = None,
    implementation: Implementations = None,
    dtype: Annotated[
        Values, typer.Option(help="A dtype; those of the runs by default. Repeatable.", autocompletion=complete_dtypes)
    ] = None,
    quantity: Annotated[Values, typer.Option(help="Such as loss or gradient; all by default. Repeatable.")] = None,
    limit: Annotated[int, typer.Option(help="Implementations for each dtype and quantity.", min=1)] = 20,
    whole: Annotated[bool, typer.Option("--all", help="List every implementation.")] = False,
    format: Annotated[str, typer.Option(help="text, markdown or json.")] = "text",
    out: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
    timeout: Annotated[float, typer.Option(help="Time limit of one call in seconds.", min=0.001)] = 120.0,
) -> None:
    """List the largest known finite errors, each measured again.

    Each implementation, dtype and quantity has one entry: its input in exact numbers, its error in ulp, the computed
    and the exact value. An entry whose error is not the recorded one is marked, with both errors. Results that are NaN
    or infinite are failures, which grades show.
    """
    from ..core.files import refuse_existing
    from ..studies import largest as listing

    check_formats([format], listing.FORMATS)
    if out is not None:
        refuse_existing(out)
    with show_progress() as show:
        found = listing.largest(
            run, case_files=case_file, implementations=implementation, dtypes=dtype, quantities=quantity,
            limit=None if whole else limit, timeout=timeout, progress=show,
        )  # fmt: skip
    if out is None:
        typer.echo(listing.written(found.entries, format), nl=False)
    else:
        found.write(out, format)
        typer.echo(out)
