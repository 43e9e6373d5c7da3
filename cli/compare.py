"""``logitlab compare``, and ``logitlab baseline``, whose files it takes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ._shared import GrowthFactor, Values, check_formats


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="A run folder, a .parquet of one, or a baseline.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another.")],
    format: Annotated[Values, typer.Option(help="text, markdown, json, junit or github; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write files here.")] = None,
    factor: GrowthFactor = 2.0,
    allow_gone: Annotated[bool, typer.Option(help="What NEW no longer measures is no regression.")] = False,
    whole: Annotated[bool, typer.Option("--all", help="Print every line, not the worst alone.")] = False,
) -> None:
    """Tell what changed from one run to another: exit code 0 without a regression, 1 with one, 2 if it cannot be told.

    A regression is a result that is newly not finite, a grade lost, an error more than --factor times as large and
    1 ulp larger, a call that no longer succeeds, and a cell that is gone. Other bits and what is new are told.
    """
    from ..studies import compare as comparison

    formats = format or ["text"]
    check_formats(formats, comparison.FORMATS)
    found = comparison.compare(base, new, factor=factor, allow_gone=allow_gone)
    for side in (found.before, found.after):
        if side.complete is False:
            print(f"logitlab: {side.name} is not complete: what it lacks is not compared", file=sys.stderr)
    for path in comparison.write(found, formats, out, whole=whole):
        print(path)
    raise typer.Exit(found.exit_code)


def baseline(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a complete run.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as baseline.json.")],
) -> None:
    """Write what a run found into a small file to commit, which compare takes in place of the run."""
    from ..studies import compare as comparison

    comparison.write_baseline(run, file)
    print(f"{file}, {file.stat().st_size / 1024:.0f} KiB; `logitlab compare {file} RUN` compares a run with it")
