from pathlib import Path
from typing import Annotated

import typer

from ._shared import Values, show_progress


def train_demo(
    framework: Annotated[Values, typer.Option(help="numpy, torch, jax or tensorflow.")] = None,
    dtype: Annotated[Values, typer.Option(help="float16 and float32 by default.")] = None,
    model: Annotated[Values, typer.Option(help="linear or two-layer.")] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Learning rates; 0.1 to 1000 by default.")] = None,
    steps: Annotated[int, typer.Option(help="Steps at each learning rate.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the start and the order of the batches.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the whole table and the chart here.")] = None,
) -> None:
    """Train classifiers at rising learning rates and tell at which step a loss made the weights NaN.

    Options may be repeated; what is left out means all.
    """
    from ..studies import training

    if out is not None:
        training.prepare(out)
    with show_progress() as show:
        table = training.train_demo(framework, dtype, model, rate, steps, seed, progress=show)
    training.show(table)
    for path in training.write(table, out) if out is not None else ():
        print(path)
