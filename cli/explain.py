from typing import Annotated

import typer

from ._shared import Device, Dtype, Values


def explain(
    case: Annotated[str, typer.Argument(metavar="CASE", help="The full family/name of a case.")],
    implementation: Annotated[str, typer.Option(help="The full name, such as torch/naive.")],
    dtype: Dtype = "float32",
    row: Annotated[
        int | None, typer.Option(help="A row, from 0, or -1: the reduced loss; the worst by default.")
    ] = None,
    device: Device = "cpu",
    mode: Annotated[str, typer.Option(help="eager, graph or compiled, or a variant: eager+one-thread.")] = "eager",
    case_file: Annotated[Values, typer.Option(help="A file of cases that may have it; repeatable.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which the call is given up.", min=0.001)] = 120.0,
) -> None:
    """Measure a case as run does and follow one row, stage by stage, to where it first went wrong.

    Stages are shown of the written formulas, computed eagerly without loss options; of everything else, what goes in
    and comes out. A reduced loss is shown with its row losses.
    """
    from ..studies import explain as explanation

    found = explanation.explain(
        case, implementation, dtype, row, device, mode=mode, timeout=timeout, case_files=case_file
    )
    explanation.show(found)
