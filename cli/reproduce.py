from pathlib import Path
from typing import Annotated

import typer

from ._shared import Case, Device, Dtype, Implementation, Values


def reproduce(
    case: Case,
    implementation: Implementation,
    dtype: Dtype = "float32",
    row: Annotated[
        int | None, typer.Option(help="The row, from 0, or -1 for the reduced loss; all rows by default.")
    ] = None,
    device: Device = "cpu",
    mode: Annotated[
        str, typer.Option(help="eager, graph, compiled or interpreted, or a variant: eager+one-thread.")
    ] = "eager",
    quantity: Annotated[
        str | None,
        typer.Option(help="Such as loss, gradient or gradient_weight; by default that of the worst grade."),
    ] = None,
    case_file: Annotated[Values, typer.Option(help="A case file to look in. Repeatable.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Run the program in a new process and print its output.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for the program, and for arrays that are long.")] = None,
    timeout: Annotated[float, typer.Option(help="Time limit of a call in seconds.", min=0.001)] = 120.0,
) -> None:
    """Print one measurement as a program without LogitLab.

    The program makes the measured call in its framework, and prints the result, the exact values and the versions. With
    --row it has this row alone if the result is the same there; else it prints the row of the whole case.
    """
    from ..studies import reproduce as reproducing

    program = reproducing.reproduce(
        case, implementation, dtype, row, device,
        mode=mode, quantity=quantity, out=out, timeout=timeout, case_files=case_file,
    )  # fmt: skip
    typer.echo(program, nl=False)
    if run:
        typer.echo()
        typer.echo(reproducing.run_program(program, out, timeout), nl=False)
