"""What several verbs share: options, the check of formats, progress, and a console for tables."""

import sys
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer
from rich.console import Console

from ..core import progress
from ..core.errors import UsageError

Values = list[str] | None  # an option that may be given several times
Cases = Annotated[Values, typer.Option(help="Cases, a glob over family/name; repeatable.")]
Implementations = Annotated[Values, typer.Option(help="Implementations, a glob.")]
Dtype = Annotated[str, typer.Option(help="float16, bfloat16, float32 or float64.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
Mode = Annotated[str, typer.Option(help="eager, graph or compiled.")]
GrowthFactor = Annotated[float, typer.Option(help="An error has grown if it is more than this many times as large.")]


def check_formats(names: Collection[str], known: Collection[str]) -> None:
    """Raise a UsageError if a format is not known."""
    for name in names:
        if name not in known:
            raise UsageError(f"unknown format {name!r}; the formats are {', '.join(known)}")


def show_progress() -> AbstractContextManager[progress.Progress]:
    """Show a bar on a terminal, and a line for every tenth of the work elsewhere."""
    return progress.bar() if sys.stderr.isatty() else nullcontext(_print_tenths())


def _print_tenths() -> progress.Progress:
    printed = 0

    def show(done: int, total: int, label: str) -> None:
        nonlocal printed
        if total and done * 10 // total > printed:  # cases without rows count as nothing
            printed = done * 10 // total
            print(f"{printed * 10:3d}%  {label}", file=sys.stderr)

    return show


def plain_console() -> Console:
    """A console that prints names as they are: Rich would take [from_logits] for a style."""
    return Console(width=None if sys.stdout.isatty() else 100, highlight=False, markup=False, emoji=False)
