"""The command line: one module a verb, thin over the library."""

import shlex
import sys
from collections.abc import Sequence

import typer

from ..core import files
from ..core.errors import UsageError
from . import (
    audit,
    cache,
    cases,
    check,
    compare,
    doctor,
    exhaustive,
    explain,
    frameworks,
    history,
    hunt,
    largest,
    matrix,
    pack,
    report,
    reproduce,
    run,
    schema,
    train_demo,
)  # fmt: skip
from ._help import GroupedHelp, example
from ._project import ProjectCommand

__all__ = ["app", "main"]

# The parser's exception for a bad command line. Its place in typer differs between versions; its subclass's does not.
_ParserError: type[Exception] = typer.BadParameter.mro()[1]
INTERRUPTED = 130  # the exit code of a program that Ctrl-C stops

app = typer.Typer(
    cls=GroupedHelp,
    help="Every softmax cross-entropy, run on extreme logits and measured against the exact answer.",
    epilog="`logitlab VERB --help` shows the options of a verb and an example.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group, verb, command in (
    ("Measure", run.run, "logitlab run --framework torch --dtype float32 --out runs/torch"),
    ("Measure", check.check, "logitlab check losses:my_loss --framework torch --dtype float32"),
    ("Measure", audit.audit, "logitlab audit --shape 64,128 --atol 1e-5 --rtol 1.3e-6"),
    ("Measure", hunt.hunt, "logitlab hunt torch/F.cross_entropy --dtype bfloat16 --seconds 30"),
    ("Measure", exhaustive.exhaustive, "logitlab exhaustive --framework torch --out float16"),
    ("Measure", train_demo.train_demo, "logitlab train-demo --framework numpy --dtype float16"),
    ("Examine", explain.explain, "logitlab explain seed/article --implementation torch/naive"),
    ("Examine", reproduce.reproduce, "logitlab reproduce seed/article --implementation torch/naive --run"),
    ("Examine", largest.largest, "logitlab largest runs/torch --dtype float32 --quantity loss"),
    ("Compare", compare.compare, "logitlab compare runs/before runs/after --format markdown"),
    ("Compare", compare.baseline, "logitlab baseline runs/torch baseline.json"),
    ("Compare", matrix.matrix, "logitlab matrix --with scipy==1.14.1 --with scipy==1.15.0"),
    ("Compare", history.history, "logitlab history measured/jax --only-regressions"),
    ("Publish", report.report, "logitlab report runs/torch --format html --out site"),
    ("Publish", pack.pack, "logitlab pack runs/torch measured/torch"),
    ("Set up", doctor.doctor, "logitlab doctor"),
    ("Set up", frameworks.frameworks, "logitlab frameworks"),
    ("Set up", schema.schema, "logitlab schema check"),
):
    kind = ProjectCommand if verb is check.check else None
    app.command(cls=kind, rich_help_panel=group, epilog=example(command))(verb)
app.add_typer(
    cases.app,
    name="cases",
    rich_help_panel="Examine",
    epilog=example("logitlab cases list --tag masks --dtype float16"),
)
app.add_typer(cache.app, name="cache", rich_help_panel="Set up", epilog=example("logitlab cache"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 for a negative answer, 2 for bad input."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    command = shlex.join(["logitlab", *words])
    try:
        code = app(args=words or ["--help"], prog_name="logitlab", obj=command, standalone_mode=False)
    except UsageError as error:
        return _fail(str(error))
    except _ParserError as error:
        return _fail(_parser_message(error))
    except OSError as error:
        # The user can fix a full disk. Other errors are LogitLab's own and show their traceback.
        if error.errno not in files.REMEDIES:
            raise
        return _fail(f"{error.filename or 'the disk'}: {error.strerror}; {files.REMEDIES[error.errno]}")
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    print(f"logitlab: {message}", file=sys.stderr)
    return 2


def _parser_message(error: Exception) -> str:
    """Return the parser's message on one line, with the help command that lists what it expects."""
    verbs: list[str] = []
    context = getattr(error, "ctx", None)
    while context is not None:
        verbs.insert(0, context.info_name)
        context = context.parent
    message = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    return f"{message}; see `{' '.join(verbs or ['logitlab'])} --help`"
