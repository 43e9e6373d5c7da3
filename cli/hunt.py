from pathlib import Path
from typing import Annotated

import typer

from ._shared import Device, Dtype, Mode, Values, show_progress


def hunt(
    implementation: Annotated[str, typer.Argument(metavar="IMPLEMENTATION", help="Its full name, as torch/naive.")],
    dtype: Dtype = "float32",
    seconds: Annotated[float, typer.Option(help="How long to search.")] = 60.0,
    evaluations: Annotated[int | None, typer.Option(help="How many rows to try, in place of --seconds.")] = None,
    quantity: Annotated[Values, typer.Option(help="loss, gradient or probabilities; by default the first two.")] = None,
    by: Annotated[
        str, typer.Option(help="What is worse: bound, more of the grade's bound; ulp, the larger error.")
    ] = "bound",
    case: Annotated[Values, typer.Option(help="The part of the catalogue to be worse than, a glob.")] = None,
    keep: Annotated[int, typer.Option(help="How many findings to keep at most.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the mutations.", min=0)] = 0,
    device: Device = "cpu",
    mode: Mode = "eager",
    timeout: Annotated[float, typer.Option(help="Seconds after which one call is given up.", min=0.001)] = 120.0,
    out: Annotated[Path, typer.Option(help="The new case file.")] = Path("hunt.json"),
) -> None:
    """Search for inputs worse than any in the catalogue and write them as a case file.

    Mutants of the catalogue's rows, and of the worst mutants, are tried. Worse is a worse grade, and of one grade an
    error that takes more of what the grade allows. What is found is made smaller, and measured again as `run` measures
    the file. Ctrl-C ends the search early. The same --evaluations and --seed find the same on the same machine.
    """
    from ..cases import inputs
    from ..studies import hunt as hunting

    inputs.prepare_case_file(out)
    with show_progress() as show:
        found = hunting.hunt(
            implementation, dtype, seconds, evaluations=evaluations, quantities=quantity, by=by, cases=case,
            keep=keep, seed=seed, device=device, mode=mode, timeout=timeout, progress=show,
        )  # fmt: skip
    if found.cases:
        found.write(out)
    hunting.show(found, out)
