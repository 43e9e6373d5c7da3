from pathlib import Path
from typing import Annotated

import typer

from ._completion import complete_formats
from ._shared import Device, Frameworks, Implementations, Mode, Values, show_progress


def exhaustive(
    framework: Frameworks = None,
    implementation: Implementations = None,
    dtype: Annotated[
        Values,
        typer.Option(
            help="Formats of up to 65,536 numbers: float16 by default, bfloat16, e4m3fn, ... Repeatable.",
            autocompletion=complete_formats,
        ),
    ] = None,
    device: Device = "cpu",
    mode: Mode = "eager",
    timeout: Annotated[float, typer.Option(help="Time limit of one call in seconds.", min=0.001)] = 120.0,
    out: Annotated[Path | None, typer.Option(help="Write the table and the pictures to this folder.")] = None,
) -> None:
    """Measure every row of two classes, which proves a grade.

    float16 and bfloat16 have the rows [h, -h] of every finite number h, with both targets. Formats of up to 256 numbers
    have all pairs of finite numbers. The exit code is 1 if no call returned a result.
    """
    from ..studies import exhaustive as study

    if out is not None:
        study.prepare(out)
    with show_progress() as show:
        found = study.exhaustive(
            dtype, framework, implementation, device=device, mode=mode, timeout=timeout, progress=show
        )
    study.show(found)
    for path in found.write(out) if out is not None else ():
        print(path)
    if not found.table["measured"].any():
        raise typer.Exit(1)
