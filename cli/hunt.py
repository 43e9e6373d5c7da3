from pathlib import Path
from typing import Annotated

import typer

from ._completion import complete_cases, complete_implementations
from ._shared import Device, Dtype, Mode, Values, show_progress


def hunt(
    implementation: Annotated[
        str,
        typer.Argument(
            metavar="IMPLEMENTATION",
            help="The full name, such as torch/naive.",
            autocompletion=complete_implementations,
        ),
    ],
    dtype: Dtype = "float32",
    seconds: Annotated[float, typer.Option(help="How long to search.")] = 60.0,
    evaluations: Annotated[int | None, typer.Option(help="How many rows to try, instead of --seconds.")] = None,
    quantity: Annotated[
        Values, typer.Option(help="loss, gradient or probabilities; loss and gradient by default. Repeatable.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="How to rank rows: bound, by the share of the grade's bound; ulp, by the error.")
    ] = "bound",
    case: Annotated[
        Values,
        typer.Option(help="Cases to start from and to exceed: a glob. Repeatable.", autocompletion=complete_cases),
    ] = None,
    keep: Annotated[int, typer.Option(help="The largest number of findings to keep.")] = 8,
    seed: Annotated[int, typer.Option(help="The seed of the mutations.", min=0)] = 0,
    device: Device = "cpu",
    mode: Mode = "eager",
    softcap: Annotated[float | None, typer.Option(help="Cap the logits at c, as c tanh(x / c) does.")] = None,
    logit_scale: Annotated[float | None, typer.Option(help="Multiply the logits, by one over a temperature.")] = None,
    z_loss: Annotated[float, typer.Option(help="Add this factor times logsumexp squared.")] = 0.0,
    timeout: Annotated[float, typer.Option(help="Time limit of one call in seconds.", min=0.001)] = 120.0,
    out: Annotated[Path, typer.Option(help="The case file to write.")] = Path("hunt.json"),
) -> None:
    """Search for inputs worse than any in the catalogue.

    The search mutates the catalogue's rows and its own worst rows. A row is worse if its grade is worse, or if its
    error takes a larger share of the same grade's bound. Findings are reduced to small inputs, measured again as `run`
    measures them, and written to a case file. Ctrl-C stops the search and keeps the findings. The same --evaluations
    and --seed find the same rows on the same machine.
    """
    from ..cases import inputs
    from ..studies import hunt as hunting

    inputs.prepare_case_file(out)
    with show_progress() as show:
        found = hunting.hunt(
            implementation, dtype, seconds, evaluations=evaluations, quantities=quantity, by=by, cases=case,
            keep=keep, seed=seed, device=device, mode=mode, softcap=softcap, logit_scale=logit_scale,
            z_loss=z_loss, timeout=timeout, progress=show,
        )  # fmt: skip
    if found.cases:
        found.write(out)
    hunting.show(found, out)
