from typing import Annotated

import typer

from ._shared import Case, Device, Dtype, Implementation, Values


def explain(
    case: Case,
    implementation: Implementation,
    dtype: Dtype = "float32",
    row: Annotated[
        int | None, typer.Option(help="The row, from 0, or -1 for the reduced loss; the worst row by default.")
    ] = None,
    device: Device = "cpu",
    mode: Annotated[
        str, typer.Option(help="eager, graph, compiled or interpreted, or a variant: eager+one-thread.")
    ] = "eager",
    case_file: Annotated[Values, typer.Option(help="A case file to look in. Repeatable.")] = None,
    timeout: Annotated[float, typer.Option(help="Time limit of the call in seconds.", min=0.001)] = 120.0,
) -> None:
    """Follow one row, stage by stage, to its first error.

    LogitLab measures the case as `run` does. It shows the stages of a written formula that runs eagerly without loss
    options; of any other call it shows the input and the output. A reduced loss is shown with its row losses.
    """
    from ..studies import explain as explanation

    found = explanation.explain(
        case, implementation, dtype, row, device, mode=mode, timeout=timeout, case_files=case_file
    )
    explanation.show(found)
