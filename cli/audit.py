from pathlib import Path
from typing import Annotated

import typer

from ._completion import complete_dtypes, complete_frameworks
from ._shared import Values, check_formats, no_arguments, show_progress

TEST_HELP = "A function of a loss that raises if the loss is wrong; MODULE:TEST or FILE.py:TEST."


def audit(
    test: Annotated[str | None, typer.Argument(metavar="MODULE:TEST", help=TEST_HELP)] = None,
    framework: Annotated[
        str, typer.Option(help="The framework: torch, jax, tensorflow or numpy.", autocompletion=complete_frameworks)
    ] = "torch",
    dtype: Annotated[
        Values,
        typer.Option(
            help="A dtype of the test; by default those in which it calls its loss. Repeatable.",
            autocompletion=complete_dtypes,
        ),
    ] = None,
    returns: Annotated[str, typer.Option(help="The result of the losses: rows, mean or sum.")] = "rows",
    kind: Annotated[Values, typer.Option(help="A kind of faults to try, such as masks. Repeatable.")] = None,
    loss: Annotated[Values, typer.Option(help="Losses to try: a glob. Repeatable.")] = None,
    shape: Annotated[
        str | None, typer.Option(metavar="ROWS,CLASSES", help="Audit a tolerance instead, on logits of this shape.")
    ] = None,
    values: Annotated[
        str, typer.Option(help="The logits of a tolerance: NUMBER*randn or NUMBER*rand, and +NUMBER.")
    ] = "randn",
    atol: Annotated[float, typer.Option(help="The absolute tolerance.", min=0)] = 1e-8,
    rtol: Annotated[float, typer.Option(help="The relative tolerance.", min=0)] = 1e-5,
    gradient_atol: Annotated[
        float | None, typer.Option(help="The absolute tolerance of the gradient, if it differs.", min=0)
    ] = None,
    gradient_rtol: Annotated[
        float | None, typer.Option(help="The relative tolerance of the gradient, if it differs.", min=0)
    ] = None,
    loss_only: Annotated[bool, typer.Option("--loss-only", help="Compare no gradient.")] = False,
    against: Annotated[
        str | None, typer.Option(help="The loss to compare with, such as torch/F.cross_entropy.")
    ] = None,
    format: Annotated[str, typer.Option(help="text, markdown, json, junit or sarif.")] = "text",
    out: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    timeout: Annotated[float, typer.Option(help="Time limit of the test of one loss in seconds.", min=0.001)] = 120.0,
) -> None:
    """Count the faulty losses that your test of a loss notices.

    The exit code is 0 if the test notices every fault and rejects no sound loss, 1 if not, and 2 if it cannot be run.

    The test is a function of a loss. It runs on losses with one planted fault each and on sound ones, each in a new
    process. The report lists the faults that slip through by kind, the sound losses that the test rejects, and the
    smallest changes that would notice each kind. A fault counts only in the dtypes in which `logitlab check` finds it.

    With --shape, and no test, LogitLab makes the test: random logits, and a tolerance for the loss and its gradient
    against the framework's own loss in float32.
    """
    from ..core.errors import UsageError
    from ..core.files import refuse_existing
    from ..core.threads import let_idle_threads_sleep

    let_idle_threads_sleep()  # before the processes of the losses import PyTorch
    from ..studies import audit as auditing

    check_formats([format], auditing.FORMATS)
    if (test is None) == (shape is None):
        given_here = "no test" if test is None else "both a test and --shape"
        raise UsageError(f"{given_here}; give MODULE:TEST, or the --shape of a tolerance to audit")
    if out is not None:
        refuse_existing(out)
    if shape is None:
        given: str | auditing.ToleranceTest = test or ""
        dtypes = dtype
    else:
        if len(dtype or []) > 1:
            raise UsageError("a tolerance is audited in one dtype; give one --dtype")
        given = auditing.tolerance_test(
            shape, values, (dtype or ["float32"])[0], atol, rtol, gradient_atol=gradient_atol,
            gradient_rtol=gradient_rtol, loss_only=loss_only, returns=returns, framework=framework, against=against,
        )  # fmt: skip
        dtypes = [given.dtype]
    with no_arguments(), show_progress() as show:
        result = auditing.audit(
            given, framework, dtypes, returns=returns, losses=loss, kinds=kind, timeout=timeout, progress=show
        )
    if out is None:
        typer.echo(auditing.written(result, format), nl=False)
    else:
        out.write_text(auditing.written(result, format), encoding="utf-8")
        typer.echo(out)
    if not result.passed:
        raise typer.Exit(1)
