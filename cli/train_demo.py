from pathlib import Path
from typing import Annotated

import typer

from ._completion import complete_dtypes, complete_frameworks
from ._shared import Values, show_progress


def train_demo(
    framework: Annotated[
        Values,
        typer.Option(
            help="numpy, torch, jax or tensorflow; all by default. Repeatable.", autocompletion=complete_frameworks
        ),
    ] = None,
    dtype: Annotated[
        Values, typer.Option(help="Dtypes; float16 and float32 by default. Repeatable.", autocompletion=complete_dtypes)
    ] = None,
    model: Annotated[Values, typer.Option(help="linear or two-layer; both by default. Repeatable.")] = None,
    rate: Annotated[
        list[float] | None, typer.Option(help="Learning rates; 0.1 to 1000 by default. Repeatable.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps at each learning rate.")] = 200,
    seed: Annotated[int, typer.Option(help="The seed of the weights and of the batch order.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the whole table and the chart to this folder.")] = None,
) -> None:
    """Show at which training step a loss turns the weights NaN.

    The demo trains small classifiers at rising learning rates.
    """
    from ..studies import training

    if out is not None:
        training.prepare(out)
    with show_progress() as show:
        table = training.train_demo(framework, dtype, model, rate, steps, seed, progress=show)
    training.show(table)
    for path in training.write(table, out) if out is not None else ():
        print(path)
