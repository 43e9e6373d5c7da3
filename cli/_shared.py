"""Parts that several verbs share: options, the check of formats, progress, and a console for tables."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, TextIO

import typer
from rich.console import Console

from ..core import progress
from ..core.errors import UsageError
from ._completion import (
    complete_case_names,
    complete_cases,
    complete_dtypes,
    complete_frameworks,
    complete_implementations,
)

Values = list[str] | None  # an option that may be given several times
Cases = Annotated[
    Values,
    typer.Option(help="Cases to measure: a glob over family/name. Repeatable.", autocompletion=complete_cases),
]
Case = Annotated[
    str,
    typer.Argument(metavar="CASE", help="The full name of a case, family/name.", autocompletion=complete_case_names),
]
Implementations = Annotated[
    Values,
    typer.Option(help="Implementations to measure: a glob. Repeatable.", autocompletion=complete_implementations),
]
Implementation = Annotated[
    str,
    typer.Option(
        help="The full name of an implementation, such as torch/naive.", autocompletion=complete_implementations
    ),
]
Frameworks = Annotated[
    Values,
    typer.Option(help="Frameworks to measure; all by default. Repeatable.", autocompletion=complete_frameworks),
]
Dtype = Annotated[str, typer.Option(help="float16, bfloat16, float32 or float64.", autocompletion=complete_dtypes)]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
Mode = Annotated[str, typer.Option(help="eager, graph, compiled or interpreted.")]
GrowthFactor = Annotated[float, typer.Option(help="Report an error that grew by more than this factor.")]


def check_formats(names: Collection[str], known: Collection[str]) -> None:
    """Raise a UsageError for an unknown format."""
    for name in names:
        if name not in known:
            raise UsageError(f"unknown format {name!r}; give --format one of {', '.join(known)}")


@contextmanager
def no_arguments() -> Iterator[None]:
    """Hide the command's arguments from the user's code: absl, for one, reads ``sys.argv`` and refuses them."""
    before, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = before


def show_progress() -> AbstractContextManager[progress.Progress]:
    """Show a bar on a terminal; elsewhere print a line after each tenth of the work."""
    return progress.bar() if sys.stderr.isatty() else nullcontext(_print_tenths())


def show_progress_and_lines(
    stream: TextIO,
) -> AbstractContextManager[tuple[progress.Progress, Callable[[str], None]]]:
    """Show progress on a stream as in `show_progress`; the second function prints a line to it."""
    if stream.isatty():
        return progress.bar_and_lines(stream)
    return nullcontext((_print_tenths(stream), lambda line: print(line, file=stream, flush=True)))


def _print_tenths(stream: TextIO | None = None) -> progress.Progress:
    printed = 0

    def show(done: int, total: int, label: str) -> None:
        nonlocal printed
        if total and done * 10 // total > printed:  # total is 0 for cases without rows
            printed = done * 10 // total
            print(f"{printed * 10:3d}%  {label}", file=stream or sys.stderr, flush=True)

    return show


def plain_console() -> Console:
    """Return a console that prints names unchanged: Rich's markup would read [from_logits] as a style."""
    return Console(width=None if sys.stdout.isatty() else 100, highlight=False, markup=False, emoji=False)
