import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ._shared import Device, Mode, Values, show_progress


def check(
    loss: Annotated[str, typer.Argument(metavar="MODULE:LOSS", help="A function of logits (B, C) and targets (B,).")],
    framework: Annotated[str, typer.Option(help="torch, jax, tensorflow or numpy, whose arrays it takes.")],
    dtype: Annotated[Values, typer.Option(help="Those it must support; by default all that it does.")] = None,
    require: Annotated[str, typer.Option(help="The worst grade that passes, A to D.")] = "B",
    require_loss: Annotated[str | None, typer.Option(help="The same of the loss alone.")] = None,
    require_gradient: Annotated[str | None, typer.Option(help="The same of the gradient alone.")] = None,
    gradient: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="The gradient (B, C), where it is written by hand.")
    ] = None,
    device: Device = "cpu",
    mode: Mode = "eager",
    case: Annotated[Values, typer.Option(help="Cases, a glob over family/name.")] = None,
    first: Annotated[bool, typer.Option(help="Stop at the first batch that falls short.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write report, failures and reproducer here.")] = None,
) -> None:
    """Check a loss of your own: exit code 0 if every row has the grade, 1 if not, 2 if it cannot be measured.

    The function takes the framework's arrays and returns the row losses (B,). It is called in this process, on the
    catalogue's cases and on seeded rows of many widths, each in several batches, orders and layouts, and with and
    without each loss option that its signature names. Where it fails, the smallest input that does comes with a program
    that shows it.
    """
    # Before the loss's module imports PyTorch: threads that wait for work leave the cores to who has some.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
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
