import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import UsageError
from ._completion import complete_formats
from ._run_report import ReportsOfRun
from ._shared import Cases, Frameworks, Implementations, Values, show_progress


def run(
    ctx: typer.Context,
    case: Cases = None,
    logits: Annotated[
        Values, typer.Option(help="A .npz, .parquet or .safetensors file of logits and targets. Repeatable.")
    ] = None,
    sweep: Annotated[
        Values, typer.Option(help="Seeded cases along an axis, such as scale=0.1:1e4:40log. Repeatable.")
    ] = None,
    case_file: Annotated[Values, typer.Option(help="A case file, as hunt writes it. Repeatable.")] = None,
    framework: Frameworks = None,
    implementation: Implementations = None,
    dtype: Annotated[
        Values,
        typer.Option(
            help="float16, bfloat16, float32, float64, all by default; or e4m3fn, e5m2, ... Repeatable.",
            autocompletion=complete_formats,
        ),
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help="Replace logits by those of MX blocks: mxfp8_e4m3, mxfp4_e2m1, ...")
    ] = None,
    device: Annotated[
        Values, typer.Option(help="cpu, cuda, cl, ..., or auto for all; all but cl by default. Repeatable.")
    ] = None,
    mode: Annotated[
        Values,
        typer.Option(
            help="eager, graph or compiled; interpreted if named. Without --dtype, only eager runs in all. Repeatable."
        ),
    ] = None,
    variant: Annotated[
        Values, typer.Option(help="Also measure each mode with this setting: one-thread, ..., or all. Repeatable.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run one case of each family in eager float32 and list the safe losses.")
    ] = False,
    bitwise: Annotated[
        bool, typer.Option("--bitwise", help="Also measure whether a row keeps its bits in other batches and threads.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/<time> by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Resume the run in --out.")] = False,
    report: Annotated[
        bool, typer.Option(help="Write a report to the run folder: after eager float32, and again at the end.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Time limit of one call in seconds; an import has 600.", min=0.001)
    ] = 120.0,
    memory_limit: Annotated[
        float | None,
        typer.Option(help="Stop a worker that uses more GiB than this; by default half of all memory.", min=0.001),
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="A Dask scheduler, dask://HOST:PORT; by default this machine.")
    ] = None,
    oracle: Annotated[
        str,
        typer.Option(
            help="balls, or quad for exact answers of files to 100 bits, which is faster if probabilities are near 1."
        ),
    ] = "balls",
    reduction: Annotated[str, typer.Option(help="For files of logits: none, or mean or sum of a file.")] = "none",
    label_smoothing: Annotated[float, typer.Option(help="For files of logits: a number from 0 to 1.")] = 0.0,
    weight: Annotated[
        Path | None,
        typer.Option(help="For files of logits: class weights, a .npy, or a .npz or .safetensors with array weight."),
    ] = None,
    ignore_index: Annotated[
        int | None, typer.Option(help="For files of logits: ignore rows with this target, such as -100.")
    ] = None,
    softcap: Annotated[float | None, typer.Option(help="For files of logits: the bound c of c tanh(x / c).")] = None,
    logit_scale: Annotated[float | None, typer.Option(help="For files of logits: one over the temperature.")] = None,
    z_loss: Annotated[float, typer.Option(help="For files of logits: the factor of logsumexp squared.")] = 0.0,
) -> None:
    """Run implementations on cases and store the measurements.

    By default, run every implementation on the whole catalogue, and on small sweeps in float32 and bfloat16. --case,
    --logits, --sweep or --case-file replaces this default.

    A sweep is AXIS=VALUES. The axes are scale, offset, gap, classes, softcap, logit_scale and z_loss. VALUES are
    numbers and ranges START:STOP:COUNT; COUNT followed by log spaces a range by equal ratios.

    --quick takes under a minute. It lists the safe losses, and what breaks the others.
    """
    from .. import runner
    from ..execution.request import Command, Request
    from ..studies.browse import listing

    if resume and out is None:
        raise UsageError(
            "--resume is given without --out; give the folder of the run: `logitlab run --resume --out DIR`"
        )
    folder = Path("runs") / runner.run_name() if out is None else out
    request = Request(
        cases=case, logits=logits, sweeps=sweep, case_files=case_file, frameworks=framework,
        implementations=implementation, dtypes=dtype, blocks=blocks, devices=device, modes=mode, variants=variant,
        quick=quick, bitwise=bitwise, resume=resume, timeout=timeout, memory_limit=memory_limit, executor=executor,
        oracle=oracle, reduction=reduction, label_smoothing=label_smoothing, weight=weight, ignore_index=ignore_index,
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
        why = f"no call returned a result; read the messages with `logitlab report {folder}`"
        why = why if store.lines() else "the chosen cases have no rows; choose other cases from `logitlab cases`"
        print(f"nothing was measured: {why}", file=sys.stderr)
        raise typer.Exit(1)
    if quick:
        from ..reports import show_answer

        show_answer(store)
    else:
        print(f"wrote {store.lines()} measurements to {folder}; for a summary, run `logitlab report {folder}`")
        print(f"For all tables, run `logitlab report {folder} --all`.")
    if bitwise:
        from ..reports.tables.bitwise import describe_bitwise

        print(*(f"{line}." for line in describe_bitwise(store.bitwise())), sep="\n")
    if report:
        reports.write_whole(store)
