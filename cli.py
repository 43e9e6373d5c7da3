"""The command line: thin verbs over the library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .errors import UsageError

app = typer.Typer(
    help="Every softmax cross-entropy, run on extreme logits and measured against the exact answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Words = list[str] | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0, 1 for a negative answer, 2 for bad input."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="logitlab")
    except UsageError as error:
        print(f"logitlab: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@app.command()
def run(
    case: Annotated[Words, typer.Option(help="Cases, a glob over family/name; repeatable.")] = None,
    framework: Annotated[Words, typer.Option(help="Frameworks to run.")] = None,
    implementation: Annotated[Words, typer.Option(help="Implementations, a glob.")] = None,
    dtype: Annotated[Words, typer.Option(help="float16, bfloat16, float32 or float64.")] = None,
    device: Annotated[Words, typer.Option(help="cpu, cuda, ...; auto takes all that are found.")] = None,
    mode: Annotated[Words, typer.Option(help="eager or compiled.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/<time> by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds after which one call is given up.", min=0.001)] = 120.0,
) -> None:
    """Run implementations on cases and keep the measurements. Options may be repeated; what is left out means all."""
    from . import runner  # noqa: PLC0415 - `logitlab --help` need not import pandas

    if resume and out is None:
        raise UsageError("--resume needs --out, the folder of the run to go on with")
    folder = Path("runs") / runner.run_name() if out is None else out
    with _progress() as show:
        table = runner.run(
            cases=case, frameworks=framework, implementations=implementation, dtypes=dtype, devices=device,
            modes=mode, out=folder, resume=resume, timeout=timeout, progress=show,
        )  # fmt: skip
    print(f"{len(table)} measurements in {folder}; `logitlab report {folder}` shows the tables")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")],
    format: Annotated[Words, typer.Option(help="text, markdown or csv; repeatable.")] = None,  # noqa: A002
    out: Annotated[Path | None, typer.Option(help="Write files here.")] = None,
) -> None:
    """Make the tables of a run. Text and Markdown are printed where no --out is given."""
    from . import reports, store  # noqa: PLC0415

    formats = format or ["text"]
    for name in formats:
        if name not in reports.FORMATS:
            raise UsageError(f"unknown format {name!r}; the formats are {', '.join(reports.FORMATS)}")
    for path in reports.write(store.Run(run), formats, out):
        print(path)


@app.command()
def explain(
    case: Annotated[str, typer.Argument(metavar="CASE", help="The full family/name of a case.")],
    implementation: Annotated[str, typer.Option(help="The full name, such as torch/naive.")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16, float32 or float64.")] = "float32",
    row: Annotated[int | None, typer.Option(help="A row, from 0; the worst by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    timeout: Annotated[float, typer.Option(help="Seconds after which the call is given up.", min=0.001)] = 120.0,
) -> None:
    """Follow one row of a case through an implementation, stage by stage, to where it first went wrong."""
    from . import explanation  # noqa: PLC0415

    explanation.show(explanation.explain(case, implementation, dtype, row, device, timeout=timeout))


@app.command()
def cases(
    pattern: Annotated[Words, typer.Argument(help="Globs over family/name.")] = None,
) -> None:
    """List the catalogue."""
    from . import listing  # noqa: PLC0415

    found = listing.catalogue(pattern)
    shown = found[["case", "rows", "classes", "why", "source"]]
    _print(shown.assign(source=shown["source"].fillna("")))
    print(f"{len(found)} cases in {found['family'].nunique()} families")


@app.command()
def frameworks() -> None:
    """List the implementations of every framework that is installed, and what is missing."""
    from . import listing  # noqa: PLC0415

    found = listing.implementations()
    present = found[found["available"]]
    _print(present[["implementation", "formula", "version", "devices", "modes"]])
    absent = found[~found["available"]]
    for name, why in zip(absent["implementation"].fillna(absent["framework"]), absent["missing"], strict=True):
        print(f"missing: {name}, {why}; see `logitlab doctor`")


@app.command()
def doctor() -> None:
    """Check the set-up: core packages, oracle, reference cache and every framework."""
    from . import doctor as examination  # noqa: PLC0415

    broken = False
    for finding in examination.examine():
        print(f"{finding.state:8s} {finding.subject}: {finding.told}")
        broken |= finding.state == "broken"
    if broken:
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal; a line for every tenth of the work where nobody watches."""
    if not sys.stderr.isatty():
        yield _told_in_tenths()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("importing the frameworks", total=None)
        yield lambda done, total, label: bar.update(task, completed=done, total=total, description=label)


def _told_in_tenths() -> Callable[[int, int, str], None]:
    told = 0

    def tell(done: int, total: int, label: str) -> None:
        nonlocal told
        if done * 10 // total > told:
            told = done * 10 // total
            print(f"{told * 10:3d}%  {label}", file=sys.stderr)

    return tell


def _print(table: Any) -> None:
    shown = Table(header_style="bold")
    for column in table.columns:
        shown.add_column(str(column), overflow="fold")
    for line in table.itertuples(index=False):
        shown.add_row(*map(str, line))
    Console().print(shown)
