import sys
from pathlib import Path
from typing import Annotated

import typer

from ._completion import complete_dtypes, complete_frameworks
from ._shared import Cases, GrowthFactor, Implementations, Values, check_formats


def matrix(
    with_: Annotated[
        list[str],
        typer.Option("--with", metavar="REQUIREMENTS", help="A set, such as 'scipy==1.14.1'. Give two or more."),
    ],
    out: Annotated[Path | None, typer.Option(help="The folder for the runs; runs/<time> by default.")] = None,
    case: Cases = None,
    framework: Annotated[
        Values,
        typer.Option(
            help="Frameworks; by default those that use the packages. Repeatable.", autocompletion=complete_frameworks
        ),
    ] = None,
    implementation: Implementations = None,
    dtype: Annotated[
        Values, typer.Option(help="Dtypes; float32 by default. Repeatable.", autocompletion=complete_dtypes)
    ] = None,
    mode: Annotated[Values, typer.Option(help="Modes; eager by default. Repeatable.")] = None,
    format: Annotated[
        Values, typer.Option(help="Also write each comparison: text, markdown, json, junit, github. Repeatable.")
    ] = None,
    factor: GrowthFactor = 2.0,
    python: Annotated[str | None, typer.Option(help="The Python interpreter to use; this one by default.")] = None,
    fresh: Annotated[bool, typer.Option(help="Rebuild the environments.")] = False,
) -> None:
    """Run one plan with several package versions and compare.

    Each set of requirements is installed with this LogitLab into its own environment, which stays in the cache. Each
    set is compared with the one before it. The exit code is 0 without a regression, 1 with one, and 2 if a set cannot
    be installed, measured or compared; the other sets are still reported.
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
        print(f"cannot compare {before} -> {after}: {reason}", file=sys.stderr)
    for name, reason in found.failed.items():
        print(f"did not measure {name}: {reason}", file=sys.stderr)
    raise typer.Exit(found.exit_code)
