import sys
from pathlib import Path
from typing import Annotated

import typer

from ._shared import Cases, GrowthFactor, Implementations, Values, check_formats


def matrix(
    with_: Annotated[
        list[str], typer.Option("--with", metavar="REQUIREMENTS", help="A set, such as 'scipy==1.14.1'; give several.")
    ],
    out: Annotated[Path | None, typer.Option(help="A folder for the runs; runs/<time> by default.")] = None,
    case: Cases = None,
    framework: Annotated[Values, typer.Option(help="Those of the packages by default.")] = None,
    implementation: Implementations = None,
    dtype: Annotated[Values, typer.Option(help="float32 by default.")] = None,
    mode: Annotated[Values, typer.Option(help="eager by default.")] = None,
    format: Annotated[
        Values, typer.Option(help="Write what changed into files too: text, markdown, json, junit, github; repeatable.")
    ] = None,
    factor: GrowthFactor = 2.0,
    python: Annotated[str | None, typer.Option(help="The interpreter to build on; this one by default.")] = None,
    fresh: Annotated[bool, typer.Option(help="Build the environments anew.")] = False,
) -> None:
    """Run one plan with each of several sets of requirements, and tell what changed from each to the next.

    Each set is installed into an environment of its own, with this LogitLab, and kept in the cache. Exit code 0 without
    a regression, 1 with one, 2 where a set cannot be installed, measured or compared; the others are told all the same.
    """
    from .. import runner
    from ..studies import compare as comparison
    from ..studies import matrix as environments

    check_formats(format or [], comparison.FORMATS)
    folder = Path("runs") / runner.run_name() if out is None else out
    found = environments.matrix(
        with_, folder, cases=case, frameworks=framework, implementations=implementation, dtypes=dtype, modes=mode,
        factor=factor, python=python, fresh=fresh, tell=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    for before, after, diff in found.comparisons:
        print(f"\n{before} -> {after}\n")
        comparison.write(diff, ["text"])
        pair = folder / f"{found.runs[before].name}_{found.runs[after].name}"
        for path in comparison.write(diff, format or [], pair):
            print(path)
    for before, after, reason in found.not_compared:
        print(f"{before} -> {after} cannot be compared: {reason}", file=sys.stderr)
    for name, reason in found.failed.items():
        print(f"{name} was not measured: {reason}", file=sys.stderr)
    raise typer.Exit(found.exit_code)
