import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import UsageError
from ._run_report import ReportsOfRun
from ._shared import Cases, Implementations, Values, show_progress


def run(
    ctx: typer.Context,
    case: Cases = None,
    logits: Annotated[Values, typer.Option(help="A .npz, .parquet or .safetensors of logits and targets.")] = None,
    sweep: Annotated[Values, typer.Option(help="A seeded family along an axis: scale=0.1:1e4:40log.")] = None,
    case_file: Annotated[Values, typer.Option(help="A file of cases, as hunt writes them; repeatable.")] = None,
    framework: Annotated[Values, typer.Option(help="Frameworks to run.")] = None,
    implementation: Implementations = None,
    dtype: Annotated[Values, typer.Option(help="float16, bfloat16, float32 or float64.")] = None,
    device: Annotated[Values, typer.Option(help="cpu, cuda, ...; auto takes all that are found.")] = None,
    mode: Annotated[
        Values, typer.Option(help="eager, graph or compiled; where no --dtype is given, the last two in float32 alone.")
    ] = None,
    variant: Annotated[
        Values, typer.Option(help="Measure this setting beside each mode: one-thread, fast-math, ..., or all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One case of each family in float32, eager, and which losses are safe.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/<time> by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    report: Annotated[
        bool, typer.Option(help="Write the report into the run folder: first of eager float32, then of all.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds after which one call is given up; an import has 600.", min=0.001)
    ] = 120.0,
    memory_limit: Annotated[
        float | None,
        typer.Option(help="GiB of memory above which a worker is ended; by default half of the machine's.", min=0.001),
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="dask://HOST:PORT, a Dask scheduler; by default this machine.")
    ] = None,
    oracle: Annotated[
        str,
        typer.Option(
            help="quad: exact answers of files good to 100 bits, faster where probabilities are next to 1; or balls."
        ),
    ] = "balls",
    reduction: Annotated[str, typer.Option(help="Of files of logits: none, mean or sum of a whole file.")] = "none",
    label_smoothing: Annotated[float, typer.Option(help="Of files of logits, from 0 to 1.")] = 0.0,
    weight: Annotated[
        Path | None,
        typer.Option(help="Class weights for files of logits: a .npy, or a .npz or .safetensors with an array weight."),
    ] = None,
    ignore_index: Annotated[
        int | None, typer.Option(help="Rows of files of logits with this target count nothing, such as -100.")
    ] = None,
    softcap: Annotated[float | None, typer.Option(help="Of files of logits: the bound c of c tanh(x / c).")] = None,
    logit_scale: Annotated[float | None, typer.Option(help="Of files of logits: one over the temperature.")] = None,
    z_loss: Annotated[float, typer.Option(help="Of files of logits: the factor of logsumexp squared.")] = 0.0,
) -> None:
    """Run implementations on cases and keep the measurements.

    Options may be repeated; what is left out means all. Where no case is named, the whole catalogue is run, and small
    sweeps in float32 and bfloat16; they are left out where --case, --logits, --sweep or --case-file is given. The axes
    of a sweep are scale, offset, gap and classes; its values numbers and ranges START:STOP:COUNT, with log behind COUNT
    for equal ratios. --quick answers in under a minute which losses are safe and what breaks the others, from one case
    of each family.
    """
    from .. import runner
    from ..execution.request import Command, Request
    from ..studies.browse import listing

    if resume and out is None:
        raise UsageError("--resume needs --out, the folder of the run to go on with")
    folder = Path("runs") / runner.run_name() if out is None else out
    request = Request(
        cases=case, logits=logits, sweeps=sweep, case_files=case_file, frameworks=framework,
        implementations=implementation, dtypes=dtype, devices=device, modes=mode, variants=variant,
        quick=quick, resume=resume, timeout=timeout, memory_limit=memory_limit, executor=executor, oracle=oracle,
        reduction=reduction, label_smoothing=label_smoothing, weight=weight, ignore_index=ignore_index,
        softcap=softcap, logit_scale=logit_scale, z_loss=z_loss,
    )  # fmt: skip
    for line in listing.third_party_notices(framework):
        print(line, file=sys.stderr)
    reports = ReportsOfRun()

    def show_all(done: int, total: int, label: str) -> None:
        show(done, total, label)
        reports.print_first()

    with show_progress() as show, closing(reports):
        command = Command(ctx.obj or "logitlab run")
        first_look = reports.start_first if report else None
        store = runner.execute(
            request, folder, show_all, lambda line: print(line, file=sys.stderr), command, first_look
        )
    if not store.has_result():
        why = "each call raised, crashed, timed out or is unsupported; `logitlab report RUN` shows the messages"
        why = why if store.lines() else "the chosen cases have no rows; choose others by --case"
        print(f"nothing was measured: {why}", file=sys.stderr)
        raise typer.Exit(1)
    if quick:
        from ..reports import show_answer

        show_answer(store)
    else:
        print(f"{store.lines()} measurements in {folder}; `logitlab report {folder}` shows the tables")
    if report:
        reports.write_whole(store)
