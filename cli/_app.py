"""The command line: thin verbs over the library."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from ..core import files, progress
from ..core.errors import UsageError

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
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(args=given, prog_name="logitlab", obj=shlex.join(["logitlab", *given]))
    except UsageError as error:
        print(f"logitlab: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # A full disk is no fault of LogitLab's, wherever it is met; others are, and say where.
        if error.errno not in files.REMEDIES:
            raise
        print(f"logitlab: {error.filename or 'the disk'}: {error.strerror}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@app.command()
def run(
    ctx: typer.Context,
    case: Annotated[Words, typer.Option(help="Cases, a glob over family/name; repeatable.")] = None,
    logits: Annotated[Words, typer.Option(help="A .npz, .parquet or .safetensors of logits and targets.")] = None,
    sweep: Annotated[Words, typer.Option(help="A seeded family along an axis: scale=0.1:1e4:40log.")] = None,
    case_file: Annotated[Words, typer.Option(help="A file of cases, as hunt writes them; repeatable.")] = None,
    framework: Annotated[Words, typer.Option(help="Frameworks to run.")] = None,
    implementation: Annotated[Words, typer.Option(help="Implementations, a glob.")] = None,
    dtype: Annotated[Words, typer.Option(help="float16, bfloat16, float32 or float64.")] = None,
    device: Annotated[Words, typer.Option(help="cpu, cuda, ...; auto takes all that are found.")] = None,
    mode: Annotated[
        Words, typer.Option(help="eager, graph or compiled; where no --dtype is given, the last two in float32 alone.")
    ] = None,
    variant: Annotated[
        Words, typer.Option(help="Measure this setting beside each mode: one-thread, fast-math, ..., or all.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/<time> by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
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
        str, typer.Option(help="quad: faster exact answers for rows of files, good to 100 bits; or balls.")
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

    Options may be repeated; what is left out means all. The catalogue is left out where --logits, --sweep or
    --case-file is given and --case is not. The axes of a sweep are scale, offset, gap and classes; its values numbers
    and ranges START:STOP:COUNT, with log behind COUNT for equal ratios.
    """
    from .. import runner
    from ..studies.browse import listing

    if resume and out is None:
        raise UsageError("--resume needs --out, the folder of the run to go on with")
    folder = Path("runs") / runner.run_name() if out is None else out
    request = runner.Request(
        cases=case, logits=logits, sweeps=sweep, case_files=case_file, frameworks=framework,
        implementations=implementation, dtypes=dtype, devices=device, modes=mode, variants=variant,
        resume=resume, timeout=timeout, memory_limit=memory_limit, executor=executor, oracle=oracle,
        reduction=reduction, label_smoothing=label_smoothing, weight=weight, ignore_index=ignore_index,
        softcap=softcap, logit_scale=logit_scale, z_loss=z_loss,
    )  # fmt: skip
    for line in listing.foreign(framework):
        print(line, file=sys.stderr)
    with _progress() as show:
        command = runner.Command(ctx.obj or "logitlab run")
        store = runner.execute(request, folder, show, lambda line: print(line, file=sys.stderr), command)
    if not store.has_result():
        print(f"nothing was measured: {_why_nothing(store.lines())}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{store.lines()} measurements in {folder}; `logitlab report {folder}` shows the tables")


def _why_nothing(lines: int) -> str:
    if lines == 0:
        return "the chosen cases have no rows; choose others by --case"
    return "each call raised, crashed, timed out or is unsupported; `logitlab report RUN` shows the messages"


@app.command()
def report(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    format: Annotated[  # noqa: A002
        Words, typer.Option(help="text, markdown, csv, html, latex, figures or json; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write files here.")] = None,
) -> None:
    """Make the tables of a run, or of several put together.

    Text, Markdown and JSON are printed where no --out is given. What several runs have measured is taken from the
    first. A report of a damaged or unfinished run says so in its first lines and on standard error.
    """
    from .. import reports
    from ..storage import store

    formats = format or ["text"]
    for name in formats:
        if name not in reports.FORMATS:
            raise UsageError(f"unknown format {name!r}; the formats are {', '.join(reports.FORMATS)}")
    runs = [store.Run(folder) for folder in run]
    for path in reports.write(runs, formats, out, tell=lambda line: print(f"logitlab: {line}", file=sys.stderr)):
        print(path)


@app.command()
def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a complete run.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The new folder.")],
) -> None:
    """Copy a run into a folder small enough to commit, which report and compare read as they do the run."""
    from ..storage import store

    packed = store.Run(run).pack(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{packed.lines()} measurements in {folder}, {size / 2**20:.1f} MiB")


@app.command()
def explain(
    case: Annotated[str, typer.Argument(metavar="CASE", help="The full family/name of a case.")],
    implementation: Annotated[str, typer.Option(help="The full name, such as torch/naive.")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16, float32 or float64.")] = "float32",
    row: Annotated[
        int | None, typer.Option(help="A row, from 0, or -1: the reduced loss; the worst by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    mode: Annotated[str, typer.Option(help="eager, graph or compiled, or a variant: eager+one-thread.")] = "eager",
    case_file: Annotated[Words, typer.Option(help="A file of cases that may have it; repeatable.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which the call is given up.", min=0.001)] = 120.0,
) -> None:
    """Measure a case as run does and follow one row, stage by stage, to where it first went wrong.

    Stages are shown of the written formulas, computed eagerly without loss options; of everything else, what goes in
    and comes out. A reduced loss is shown with its row losses.
    """
    from ..studies import explain as explanation

    found = explanation.explain(
        case, implementation, dtype, row, device, mode=mode, timeout=timeout, case_files=case_file
    )
    explanation.show(found)


@app.command(name="train-demo")
def train_demo(
    framework: Annotated[Words, typer.Option(help="numpy, torch, jax or tensorflow.")] = None,
    dtype: Annotated[Words, typer.Option(help="float16 and float32 by default.")] = None,
    model: Annotated[Words, typer.Option(help="linear or two-layer.")] = None,
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
    with _progress() as show:
        table = training.train_demo(framework, dtype, model, rate, steps, seed, progress=show)
    training.show(table)
    for path in training.write(table, out) if out is not None else ():
        print(path)


@app.command()
def check(
    loss: Annotated[str, typer.Argument(metavar="MODULE:LOSS", help="A function of logits (B, C) and targets (B,).")],
    framework: Annotated[str, typer.Option(help="torch, jax, tensorflow or numpy, whose arrays it takes.")],
    dtype: Annotated[Words, typer.Option(help="Those it must support; by default all that it does.")] = None,
    require: Annotated[str, typer.Option(help="The worst grade that passes, A to D.")] = "B",
    require_loss: Annotated[str | None, typer.Option(help="The same of the loss alone.")] = None,
    require_gradient: Annotated[str | None, typer.Option(help="The same of the gradient alone.")] = None,
    gradient: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="The gradient (B, C), where it is written by hand.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    mode: Annotated[str, typer.Option(help="eager, graph or compiled.")] = "eager",
    case: Annotated[Words, typer.Option(help="Cases, a glob over family/name.")] = None,
    first: Annotated[bool, typer.Option(help="Stop at the first batch that falls short.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write report, failures and reproducer here.")] = None,
) -> None:
    """Check a loss of your own: exit code 0 if every row has the grade, 1 if not, 2 if it cannot be measured.

    The function takes the framework's arrays and returns the row losses (B,). It is called in this process, on the
    catalogue's cases and on seeded rows of many widths, each in several batches, orders and layouts, and with and
    without each loss option that its signature names. Where it fails, the smallest input that does comes with a program
    that shows it.
    """
    from ..studies import check as checking

    if out is not None:
        checking.prepare(out)
    name, function = checking.named(loss)
    by_hand = checking.named(gradient)[1] if gradient else None
    result = checking.check(
        function, framework, dtype, require,
        require_loss=require_loss, require_gradient=require_gradient,
        name=name, gradient=by_hand, device=device, mode=mode, cases=case, first=first,
    )  # fmt: skip
    checking.show(result)
    for path in checking.write(result, out) if out is not None else ():
        print(path)
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def hunt(
    implementation: Annotated[str, typer.Argument(metavar="IMPLEMENTATION", help="Its full name, as torch/naive.")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16, float32 or float64.")] = "float32",
    seconds: Annotated[float, typer.Option(help="How long to search.")] = 60.0,
    evaluations: Annotated[int | None, typer.Option(help="How many rows to try, in place of --seconds.")] = None,
    quantity: Annotated[Words, typer.Option(help="loss, gradient or probabilities; by default the first two.")] = None,
    by: Annotated[
        str, typer.Option(help="What is worse: bound, more of the grade's bound; ulp, the larger error.")
    ] = "bound",
    case: Annotated[Words, typer.Option(help="The part of the catalogue to be worse than, a glob.")] = None,
    keep: Annotated[int, typer.Option(help="How many findings to keep at most.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the mutations.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    mode: Annotated[str, typer.Option(help="eager, graph or compiled.")] = "eager",
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

    inputs.prepare(out)
    with _progress() as show:
        found = hunting.hunt(
            implementation, dtype, seconds, evaluations=evaluations, quantities=quantity, by=by, cases=case,
            keep=keep, seed=seed, device=device, mode=mode, timeout=timeout, progress=show,
        )  # fmt: skip
    if found.cases:
        found.write(out)
    hunting.show(found, out)


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="A run folder, a .parquet of one, or a baseline.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another.")],
    format: Annotated[  # noqa: A002
        Words, typer.Option(help="text, markdown, json, junit or github; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write files here.")] = None,
    factor: Annotated[
        float, typer.Option(help="An error has grown if it is more than this many times as large.")
    ] = 2.0,
    allow_gone: Annotated[bool, typer.Option(help="What NEW no longer measures is no regression.")] = False,
    whole: Annotated[bool, typer.Option("--all", help="Print every line, not the worst alone.")] = False,
) -> None:
    """Tell what changed from one run to another: exit code 0 without a regression, 1 with one, 2 if it cannot be told.

    A regression is a result that is newly not finite, a grade lost, an error more than --factor times as large and
    1 ulp larger, a call that no longer succeeds, and a cell that is gone. Other bits and what is new are told.
    """
    from ..studies import compare as comparison

    formats = _comparison_formats(format or ["text"])
    found = comparison.compare(base, new, factor=factor, allow_gone=allow_gone)
    for side in (found.before, found.after):
        if side.complete is False:
            print(f"logitlab: {side.name} is not complete: what it lacks is not compared", file=sys.stderr)
    for path in comparison.write(found, formats, out, whole=whole):
        print(path)
    raise typer.Exit(found.exit_code)


@app.command()
def baseline(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a complete run.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as baseline.json.")],
) -> None:
    """Write what a run found into a small file to commit, which compare takes in place of the run."""
    from ..studies import compare as comparison

    comparison.write_baseline(run, file)
    print(f"{file}, {file.stat().st_size / 1024:.0f} KiB; `logitlab compare {file} RUN` compares a run with it")


@app.command()
def matrix(
    with_: Annotated[
        list[str], typer.Option("--with", metavar="REQUIREMENTS", help="A set, such as 'scipy==1.14.1'; give several.")
    ],
    out: Annotated[Path | None, typer.Option(help="A folder for the runs; runs/<time> by default.")] = None,
    case: Annotated[Words, typer.Option(help="Cases, a glob over family/name; repeatable.")] = None,
    framework: Annotated[Words, typer.Option(help="Those of the packages by default.")] = None,
    implementation: Annotated[Words, typer.Option(help="Implementations, a glob.")] = None,
    dtype: Annotated[Words, typer.Option(help="float32 by default.")] = None,
    mode: Annotated[Words, typer.Option(help="eager by default.")] = None,
    format: Annotated[  # noqa: A002
        Words, typer.Option(help="Write what changed into files too: text, markdown, json, junit, github; repeatable.")
    ] = None,
    factor: Annotated[
        float, typer.Option(help="An error has grown if it is more than this many times as large.")
    ] = 2.0,
    python: Annotated[str | None, typer.Option(help="The interpreter to build on; this one by default.")] = None,
    fresh: Annotated[bool, typer.Option(help="Build the environments anew.")] = False,
) -> None:
    """Run one plan with each of several sets of requirements, and tell what changed from each to the next.

    Each set is installed into an environment of its own, with this LogitLab, and kept in the cache. Exit code 0 without
    a regression, 1 with one, 2 where a set cannot be installed, measured or compared; the others are told all the same.
    """
    from .. import runner
    from ..studies import compare as comparison
    from ..studies import matrix as environments

    formats = _comparison_formats(format or [])
    folder = Path("runs") / runner.run_name() if out is None else out
    found = environments.matrix(
        with_, folder, cases=case, frameworks=framework, implementations=implementation, dtypes=dtype, modes=mode,
        factor=factor, python=python, fresh=fresh, tell=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    for before, after, diff in found.comparisons:
        print(f"\n{before} -> {after}\n")
        comparison.write(diff, ["text"])
        for path in comparison.write(diff, formats, folder / f"{found.runs[before].name}_{found.runs[after].name}"):
            print(path)
    for before, after, why in found.not_compared:
        print(f"{before} -> {after} cannot be compared: {why}", file=sys.stderr)
    for name, why in found.failed.items():
        print(f"{name} was not measured: {why}", file=sys.stderr)
    raise typer.Exit(found.exit_code)


class _Listing(TyperGroup):
    """A group that lists unless another of its commands is named: ``cases 'gap/*'`` is ``cases list 'gap/*'``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["list", *args])


cases = typer.Typer(cls=_Listing, help="List the catalogue, or show one case of it.", rich_markup_mode=None)
app.add_typer(cases, name="cases")


@cases.command("list")
def list_cases(
    pattern: Annotated[Words, typer.Argument(help="Globs over family/name, as --case takes them.")] = None,
    case: Annotated[Words, typer.Option(help="Cases, a glob over family/name.")] = None,
    family: Annotated[Words, typer.Option(help="Families, by name or glob.")] = None,
    tag: Annotated[Words, typer.Option(help="Tags, by name or glob; one that is none is told which there are.")] = None,
    dtype: Annotated[Words, typer.Option(help="Keeps the cases that the dtype can hold.")] = None,
    source: Annotated[Words, typer.Option(help="A part of the source, such as optax or #1020, in any case.")] = None,
) -> None:
    """List the catalogue; what `cases` does where no command is named.

    An option may be repeated, and its words are then alternatives; a case must pass every option that is given.
    """
    from ..studies.browse import listing

    patterns = [*(pattern or []), *(case or [])] or None
    found = listing.catalogue(patterns, family, tag, dtype, source)
    _print_cases(found)
    cases_, families = len(found), found["family"].nunique()
    print(f"{cases_} case{'s' * (cases_ > 1)} in {families} famil{'ies' if families > 1 else 'y'}")


@cases.command("show")
def show_case(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The full family/name of a case.")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16, float32 or float64.")] = "float32",
    row: Annotated[int | None, typer.Option(help="A row, from 0; the first eight by default.")] = None,
) -> None:
    """Show a case in a dtype: its numbers, the exact answer, and the thresholds it stands near."""
    from ..studies.browse import showing

    showing.show(showing.view(name, dtype, row))


@app.command()
def frameworks(
    entry_points: Annotated[
        bool, typer.Option("--entry-points", help="Where each comes from, and nothing is imported.")
    ] = False,
) -> None:
    """List the implementations of every framework that is installed, and what is missing."""
    from ..studies.browse import listing

    if entry_points:
        _print(listing.entry_points())
        return
    found = listing.implementations()
    present = found[found["available"]]
    _print(present[["implementation", "formula", "version", "devices", "modes"]])
    count, owners = len(present), present["framework"].nunique()
    print(f"{count} implementations in {owners} frameworks, each tried in {present['dtypes'].iloc[0]}; one that lacks")
    print("a dtype, an option or a mode says so itself, and the table with it: unsupported")
    for line in found[~found["available"]].fillna({"implementation": ""}).to_dict("records"):
        package = line["missing"].removesuffix(" is not installed") if line["implementation"] else line["framework"]
        name = line["implementation"] or line["framework"]
        print(f"missing: {name}, {line['missing']}; {listing.how_to_install(package, line['framework'])}")


@app.command()
def doctor(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="A run folder to verify instead.")] = None,
) -> None:
    """Check the set-up: core packages, oracle, reference cache and every framework. Or verify a run folder.

    Exit code 0 if all is well, 1 if something is wrong, 2 if RUN is no run. A run that was stopped and can be gone on
    with is well.
    """
    from ..studies import doctor as examination

    if run is None:
        findings = examination.examine()
    else:
        from ..storage.verification import verify

        findings = iter(verify(run).findings)
    broken = False
    for finding in findings:
        state = (f"{finding.state:8s}", _STYLES.get(finding.state, ""))
        _plain_console().print(Text.assemble(state, f" {finding.subject}: {finding.message}"), soft_wrap=True)
        broken |= finding.state == "broken"
    if broken:
        raise typer.Exit(1)


_STYLES = {"broken": "bold red", "missing": "yellow", "note": "yellow", "ok": "green"}


def _comparison_formats(asked: list[str]) -> list[str]:
    from ..studies.compare import FORMATS

    for name in asked:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}; the formats are {', '.join(FORMATS)}")
    return asked


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal; a line for every tenth of the work where nobody watches."""
    if not sys.stderr.isatty():
        yield _told_in_tenths()
        return
    with progress.bar() as show:
        yield show


def _told_in_tenths() -> Callable[[int, int, str], None]:
    told = 0

    def tell(done: int, total: int, label: str) -> None:
        nonlocal told
        if total and done * 10 // total > told:  # cases without rows count nothing
            told = done * 10 // total
            print(f"{told * 10:3d}%  {label}", file=sys.stderr)

    return tell


def _print_cases(found: Any) -> None:
    """Three columns, the last of them what is left of a hundred: why, and beneath it source and tags."""
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("case", "shape", "why"):
        shown.add_column(name, no_wrap=name != "why")
    for line in found.fillna({"source": ""}).to_dict("records"):
        beneath = "; ".join(words for words in (line["source"], line["tags"]) if words)
        why = f"{line['why']}\n[{beneath}]" if beneath else line["why"]
        shown.add_row(line["case"], f"{line['rows']} x {line['classes']}", why)
    _plain_console().print(shown)


def _print(table: Any) -> None:
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in table.columns:
        shown.add_column(str(column), overflow="fold")
    for line in table.itertuples(index=False):
        shown.add_row(*map(str, line))
    _plain_console().print(shown)


def _plain_console() -> Console:
    # A name is no markup: [from_logits] would be taken for a style, and vanish.
    return Console(width=None if sys.stdout.isatty() else 100, highlight=False, markup=False, emoji=False)
