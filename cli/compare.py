"""``logitlab compare``, and ``logitlab baseline``, which writes a file that ``compare`` reads."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ._project import project_baseline
from ._shared import GrowthFactor, Values, check_formats


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The old run: a run folder, .parquet or baseline.")],
    new: Annotated[Path | None, typer.Argument(metavar="NEW", help="The new run, in one of the same forms.")] = None,
    format: Annotated[Values, typer.Option(help="text, markdown, json, junit or github. Repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write files to this folder.")] = None,
    factor: GrowthFactor = 2.0,
    allow_gone: Annotated[
        bool, typer.Option(help="Do not count cells that are missing in NEW as regressions.")
    ] = False,
    whole: Annotated[bool, typer.Option("--all", help="Print every line, not only the worst.")] = False,
) -> None:
    """Compare two runs and report the regressions.

    The exit code is 0 without a regression, 1 with one, and 2 if the runs cannot be compared.

    A regression is a result that is no longer finite, a lower grade, a call that no longer succeeds, or a cell that is
    missing in NEW. An error that grew by more than --factor and by more than 1 ulp is a regression too. Bitwise
    differences and new cells are reported but do not count as regressions.

    With one argument, it is NEW, and BASE is the baseline of [tool.logitlab] in pyproject.toml.
    """
    from ..studies import compare as comparison

    if new is None:
        base, new = project_baseline(), base
    formats = format or ["text"]
    check_formats(formats, comparison.FORMATS)
    found = comparison.compare(base, new, factor=factor, allow_gone=allow_gone)
    for side in (found.before, found.after):
        if side.complete is False:
            print(f"logitlab: {side.name} is incomplete; its missing measurements are not compared", file=sys.stderr)
    for path in comparison.write(found, formats, out, whole=whole):
        print(path)
    raise typer.Exit(found.exit_code)


def baseline(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a complete run.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as baseline.json.")],
) -> None:
    """Write a run's results into a small file for `compare`.

    The file is small enough to commit. `logitlab compare FILE RUN` reads it in place of the run.
    """
    from ..studies import compare as comparison

    comparison.write_baseline(run, file)
    print(f"wrote {file}, {file.stat().st_size / 1024:.0f} KiB; to compare a run, use `logitlab compare {file} RUN`")
