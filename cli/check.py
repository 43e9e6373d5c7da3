import sys
from pathlib import Path
from typing import Annotated

import typer

from ._shared import Device, Mode, Values, show_progress


def check(
    loss: Annotated[str, typer.Argument(metavar="MODULE:LOSS", help="A function of logits (B, C) and targets (B,).")],
    framework: Annotated[str, typer.Option(help="The framework of its arrays: torch, jax, tensorflow or numpy.")],
    dtype: Annotated[
        Values, typer.Option(help="Dtypes that it must support; by default all that it supports. Repeatable.")
    ] = None,
    require: Annotated[str, typer.Option(help="The worst grade that passes, A to D.")] = "B",
    require_loss: Annotated[str | None, typer.Option(help="The worst grade of the loss, if not --require.")] = None,
    require_gradient: Annotated[
        str | None, typer.Option(help="The worst grade of the gradient, if not --require.")
    ] = None,
    gradient: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="A gradient (B, C) written by hand.")
    ] = None,
    device: Device = "cpu",
    mode: Mode = "eager",
    case: Annotated[Values, typer.Option(help="Cases to try: a glob over family/name. Repeatable.")] = None,
    first: Annotated[bool, typer.Option(help="Stop at the first batch that fails.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the report, failures and reproducer to this folder.")] = None,
) -> None:
    """Check your own loss against the exact answer.

    The exit code is 0 if every row has the required grade, 1 if one has not, and 2 if the loss cannot be measured.

    The function takes the framework's arrays and returns the row losses (B,). LogitLab calls it in this process, on the
    catalogue's cases and on seeded rows of many widths. Each row is tried in several batches, orders and layouts, and
    with each loss option that the function's signature names. If a row fails, the report shows the smallest input that
    fails and a program that reproduces it.
    """
    from ..core.threads import let_idle_threads_sleep

    let_idle_threads_sleep()  # before the loss's module imports PyTorch
    from ..studies import check as checking

    if out is not None:
        checking.prepare(out)
    with show_progress() as show:
        name, function = checking.named(loss)
        by_hand = checking.named(gradient)[1] if gradient else None
        result = checking.check(
            function, framework, dtype, require,
            require_loss=require_loss, require_gradient=require_gradient,
            name=name, gradient=by_hand, device=device, mode=mode, cases=case, first=first,
            progress=show, on_failure=lambda line: print(f"first failure: {line}", file=sys.stderr),
        )  # fmt: skip
    checking.show(result)
    for path in checking.write(result, out) if out is not None else ():
        print(path)
    if not result.passed:
        raise typer.Exit(1)
