"""Progress of a long call: a bar on a terminal, a line in a notebook, or the caller's function."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from .errors import UsageError, short_repr

# Called with the amount done, the total, and a label for the current step.
Progress = Callable[[int, int, str], None]
NOTEBOOK_SECONDS = 0.2  # between two updates: a notebook stores every character
NOTEBOOK_WIDTH = 100


def reporting(progress: Progress | bool | None) -> AbstractContextManager[Progress | None]:
    """Return a context manager that gives the function to report progress to, or None.

    Args:
        progress: a function to use; False for none; None or True for a bar if standard error is a terminal, a line in a
            notebook, and none elsewhere.

    Raises:
        UsageError: for anything else.
    """
    if callable(progress):
        return nullcontext(progress)
    if not (progress is None or isinstance(progress, bool)):
        raise UsageError(
            f"progress is {short_repr(progress)}; expected a function, False for none, or None for the default"
        )
    if progress is not False and Console(stderr=True).is_jupyter:
        return notebook_line()
    if progress is not False and sys.stderr is not None and sys.stderr.isatty():
        return bar()
    return nullcontext()


@contextmanager
def bar() -> Iterator[Progress]:
    """Show a bar on standard error, and erase it at the end."""
    with _drawn(Console(stderr=True), redirect=True) as drawn:
        yield _updating(drawn)


@contextmanager
def bar_and_lines(stream: TextIO) -> Iterator[tuple[Progress, Callable[[str], None]]]:
    """Show a bar on a stream, and erase it at the end; the second function prints a line above the bar.

    The output of others is not redirected.
    """
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    with _drawn(console, redirect=False) as drawn:
        yield _updating(drawn), lambda line: console.print(line, soft_wrap=True)


def _drawn(console: Console, *, redirect: bool) -> Bar:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Bar(*columns, console=console, transient=True, redirect_stdout=redirect, redirect_stderr=redirect)


def _updating(drawn: Bar) -> Progress:
    task = drawn.add_task("importing the frameworks", total=None)
    return lambda done, total, label: drawn.update(task, completed=done, total=total, description=label)


@contextmanager
def notebook_line() -> Iterator[Progress]:
    """Show a line on standard error and overwrite it. Rich's bar would need widgets in a notebook."""
    due = 0.0

    def show(done: int, total: int, label: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + NOTEBOOK_SECONDS
            _write_over(f"{done:,} of {total:,}  {label}")

    try:
        yield show
    finally:
        if due:
            _write_over("")
            sys.stderr.write("\r")


def _write_over(line: str) -> None:
    sys.stderr.write(f"\r{line[:NOTEBOOK_WIDTH]:{NOTEBOOK_WIDTH}}")
    sys.stderr.flush()
