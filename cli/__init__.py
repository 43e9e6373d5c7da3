"""The command line: one module a verb, thin over the library."""

import shlex
import sys
from collections.abc import Sequence

import typer

from ..core import files
from ..core.errors import UsageError
from . import cache, cases, check, compare, doctor, explain, frameworks, hunt, matrix, pack, report, run, train_demo

__all__ = ["app", "main"]

app = typer.Typer(
    help="Every softmax cross-entropy, run on extreme logits and measured against the exact answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# In the order of `logitlab --help`.
for verb in (
    run.run, report.report, pack.pack, explain.explain, train_demo.train_demo, check.check, hunt.hunt,
    compare.compare, compare.baseline, matrix.matrix, frameworks.frameworks, doctor.doctor,
):  # fmt: skip
    app.command()(verb)
app.add_typer(cases.app, name="cases")
app.add_typer(cache.app, name="cache")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 for a negative answer, 2 for bad input."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(args=given, prog_name="logitlab", obj=shlex.join(["logitlab", *given]))
    except UsageError as error:
        print(f"logitlab: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # A full disk is not LogitLab's fault, wherever it is met. Other errors are, and show their traceback.
        if error.errno not in files.REMEDIES:
            raise
        print(f"logitlab: {error.filename or 'the disk'}: {error.strerror}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
