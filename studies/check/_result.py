"""The result of a check: grades, properties, the worst rows, the smallest input that fails; and its text."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...core import interpreting
from ...core.errors import UsageError
from ...core.files import refuse_existing, refuse_links
from ...core.vocabulary import Grade, Quantity, Status, worst_grade
from .batches._limits import NO_LIMITS, Limits
from .batches._presentation import CATALOGUED
from .forms._form import PLAIN_FORM, CallForm
from .judging._failures import Failures
from .judging._properties import ARGUMENTS, IN_MEMORY, PROPERTIES, properties
from .judging._refusals import notes, refusals
from .judging._warnings import Warned
from .judging._wording import messages, outcome, unsupported_dtypes, wrapped
from .measuring._ignored import note_of_ignored
from .measuring._lines import DIFFERS, WRONG, Line, Mask, Required, badnesses, each_line, fails
from .reproducing._program import words_of
from .reproducing._shrink import Smallest

FAILURE_COLUMNS = (
    "dtype", "quantity", "case", "row", "classes", "target", "how", "status", "grade", "verdict", "value", "exact",
    "max_abs", "max_ulp", "breaks", "detail",
)  # fmt: skip
MEASURED = (Quantity.LOSS.value, Quantity.GRADIENT.value)
FILES = ("report.txt", "failures.csv", "properties.csv", "reproduce.py")
WIDTH = 100
WORST = 10  # shown rows


@dataclass(frozen=True, eq=False)
class CheckResult:
    """The result of a check.

    Attributes:
        name, framework, version, device, mode: the loss and its cell.
        required, required_loss, required_gradient: the required grades: of both, of the loss, of the gradient.
        options: the loss options that it was measured with, in addition to calls without options.
        lines: all measurements, one line for each row, quantity and presentation.
        asked: the dtypes given by name.
        smallest: the smallest input found that fails, or None.
        complete: whether everything was tried; False after ``first`` or Ctrl-C.
        limits: the size of the batches that it was measured on.
        form: how the loss is called.
        gradient_checked: whether the gradient was checked; False in NumPy without a gradient function.
        warnings: the warnings of the loss, each once, with their number.
        searched: whether a search for the smallest input has ended.
    """

    name: str
    framework: str
    version: str
    device: str
    mode: str
    required: str
    required_loss: str
    required_gradient: str
    options: tuple[str, ...]
    lines: pd.DataFrame
    asked: tuple[str, ...]
    smallest: Smallest | None
    complete: bool = True
    limits: Limits = NO_LIMITS
    form: CallForm = PLAIN_FORM
    gradient_checked: bool = True
    warnings: tuple[Warned, ...] = ()
    searched: bool = False

    @property
    def _required(self) -> Required:
        return Required(Grade(self.required_loss), Grade(self.required_gradient))

    @cached_property
    def _failed(self) -> Mask:
        missing = self.lines["dtype"].isin(self.asked) & self.lines["status"].eq(Status.UNSUPPORTED)
        return fails(self.lines, self._required) | (missing & ~self._refused).to_numpy(bool)

    @cached_property
    def _failures(self) -> Failures:
        return Failures(self.lines, self._failed)

    @property
    def _refused(self) -> "pd.Series[bool]":
        """Which lines are of a memory layout that the loss does not support, by its own message."""
        return self.lines["status"].eq(Status.UNSUPPORTED) & self.lines["arrangement"].isin(IN_MEMORY)

    @property
    def passed(self) -> bool:
        """Whether every row has the grade in every dtype that the loss supports, and it supports one at least."""
        return not self._failed.any() and bool(self.lines["status"].eq(Status.OK).any())

    @cached_property
    def grades(self) -> dict[str, str]:
        """The worst grade in each dtype, or the status: ``raised``, ``unsupported``."""
        return {str(dtype): _worst(table) for dtype, table in self.lines.groupby("dtype", sort=False)}

    @cached_property
    def grades_by_quantity(self) -> dict[str, dict[str, str]]:
        """The worst grade of ``loss`` and of ``gradient``: ``{dtype: {quantity: grade}}``."""
        return {
            str(dtype): {q: _worst(table[table["quantity"] == q]) for q in MEASURED if (table["quantity"] == q).any()}
            for dtype, table in self.lines.groupby("dtype", sort=False)
        }

    @cached_property
    def _worst_first(self) -> pd.DataFrame:
        asked = PROPERTIES if self._failed.any() else {}
        broke = {name: p.breaks(self._failures) for name, p in asked.items()}
        some = {name: mask for name, mask in broke.items() if mask.any()}
        names = ["; ".join(name for name, mask in some.items() if mask[i]) for i in np.flatnonzero(self._failed)]
        failures = self.lines[self._failed].assign(breaks=names)
        bad = badnesses(failures)
        # A result without a grade that is wrong in every kind of call comes last.
        bad[failures["grade"].isna() & failures["status"].eq(Status.OK) & failures["breaks"].eq("")] = 0.0
        order = failures.assign(_bad=bad, _plainly=failures["how"].eq(str(CATALOGUED)))
        return order.sort_values(["_bad", "_plainly", "max_ulp"], ascending=False, kind="stable")

    @cached_property
    def failures(self) -> pd.DataFrame:
        """The lines that fail, worst first, with the columns `FAILURE_COLUMNS`; ``breaks`` names broken properties.

        Of equal grades, rows of the catalogue come before the same rows in another presentation.
        """
        return self._worst_first[list(FAILURE_COLUMNS)].reset_index(drop=True)

    @cached_property
    def properties(self) -> pd.DataFrame:
        """Each property in each dtype: how many rows test it, how many fail, and whether it ``held``."""
        return properties(self._failures)

    @property
    def overwritten(self) -> tuple[str, ...]:
        """The arguments that the loss writes into, if it may: ``logits``, ``targets``."""
        allowed = self.lines.loc[self.lines["status"].eq(Status.OK), "written"]
        return tuple(str(argument) for argument in pd.unique(allowed.dropna()))

    @property
    def script(self) -> str | None:
        """A short Python program that reproduces the failure without LogitLab; None if nothing fails."""
        return None if self.smallest is None else self.smallest.script

    def paragraphs(self, width: int) -> Iterator[RenderableType]:
        """Yield the parts of the report, without the program."""
        yield from _parts(self, width)

    def program_text(self, width: int) -> Iterator[str]:
        """Yield the program of the smallest input that fails, and what it prints."""
        if self.smallest is not None:
            yield "\nA program that reproduces the failure with the smallest input found:\n"
            yield self.smallest.script
            if self.smallest.run is not None:
                yield "\n".join(words_of(self.smallest.run, width))
        elif self.searched:
            yield "\nNo smaller batch shows the failure, so there is no program."

    def __str__(self) -> str:
        written = io.StringIO()
        show(self, Console(file=written, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False))
        return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _worst(lines: pd.DataFrame) -> str:
    """Return the worst grade, or the status of calls without a grade."""
    ended = lines.loc[~lines["status"].isin([Status.OK, Status.UNSUPPORTED]), "status"]
    return str(ended.iloc[0]) if len(ended) else worst_grade(lines["grade"]) or Status.UNSUPPORTED.value


def show(result: CheckResult, console: Console | None = None) -> None:
    """Print the result."""
    out = _console() if console is None else console
    out.print(Group(*result.paragraphs(out.width)))
    for text in result.program_text(out.width):
        out.print(text, soft_wrap=True)  # a program is not wrapped


def _console() -> Console:
    """Return a console of `WIDTH` columns, or of those of a narrower terminal."""
    terminal = Console(highlight=False, markup=False, emoji=False)
    if terminal.is_terminal and terminal.width < WIDTH:
        return terminal
    return Console(width=WIDTH, highlight=False, markup=False, emoji=False)


def prepare(folder: Path, others: Sequence[str] = ()) -> None:
    """Create the folder, and check before the measurement that `write` will succeed; ``others`` are further files.

    Raises:
        UsageError: if the folder cannot be created, holds links, or has one of the files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error
    refuse_links(folder)
    for name in (*FILES, *others):
        refuse_existing(folder / name, "folder")


def write(result: CheckResult, folder: Path) -> Iterator[Path]:
    """Write ``report.txt``, ``failures.csv``, ``properties.csv``, and ``reproduce.py`` if a row fails.

    Raises:
        UsageError: as in `prepare`.
    """
    prepare(folder)
    contents = (f"{result}\n", result.failures.to_csv(index=False), result.properties.to_csv(index=False))
    for name, content in zip(FILES, (*contents, result.script), strict=True):
        if content is not None:
            (folder / name).write_text(content, encoding="utf-8")
            yield folder / name


def _parts(result: CheckResult, width: int) -> Iterator[RenderableType]:
    where = f"{result.framework} {result.version}, {result.device}, {result.mode}"
    yield Text(f"{result.name}: {'passed' if result.passed else 'FAILED'}, {result._required} required ({where})")
    if result.options:
        yield Text(f"Measured with and without {', '.join(result.options)}")
    if result.form.internal is not None:
        yield Text(f"Wider dtypes than {result.form.internal}, in which it computes, are graded by its bounds")
    for argument in result.overwritten:
        yield Text(f"Writes into its {argument}, as allowed")
    if str(result.limits):
        yield Text(f"Limited to {result.limits}")
    yield from (Text(wrapped(note, width)) for note in interpreting.notes([result.mode]))
    if not result.complete:
        yield Text("Stopped before the end: the grades cover only the batches tried so far")
    yield from _grades(result, width)
    for line in each_line(result.lines[result._refused].drop_duplicates("how")):
        yield Text(wrapped(f"Not supported: {line.how} ({line.detail})", width))
    for note in (*notes(result.lines), *note_of_ignored(result.lines)):
        yield Text(wrapped(note, width))
    if not result.gradient_checked:
        yield Text(
            wrapped(
                f"No gradient was checked, since {result.framework} does not differentiate; give a function of the "
                "gradient with --gradient MODULE:FUNCTION, in Python gradient=",
                width,
            )
        )
    if result.lines["status"].eq(Status.OK).any() and not result.failures.empty:
        yield Text("")
        yield _properties(result)
    for paragraph in (_worst_rows(result), messages(result.lines), _warnings(result)):
        lines = list(paragraph)
        if lines:
            yield Text("\n" + "\n".join(wrapped(line, width) for line in lines))


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name in ("rows", "failed") else "left")
    return table


def _grades(result: CheckResult, width: int) -> Iterator[RenderableType]:
    """Yield a table with a line for each dtype, then the message of each dtype that is not supported."""
    table = _table("dtype", "loss", "gradient", "rows", "failed")
    failed = result.failures["dtype"].value_counts()
    refused = unsupported_dtypes(result.lines)
    for dtype, lines in result.lines.groupby("dtype", sort=False):
        both = (outcome(lines[lines["quantity"] == quantity]) for quantity in MEASURED)
        if dtype not in refused:
            table.add_row(str(dtype), *both, f"{len(lines):,}", f"{int(failed.get(dtype, 0)):,}")
    if table.rows:
        yield table
    longest = max(map(len, result.grades_by_quantity), default=0)
    for dtype, message in refused.items():
        yield Text(wrapped(f"{dtype:<{longest}}  unsupported: {message}", width))
    if result.lines.empty:
        yield Text("Nothing was measured: no case fits the dtypes")


def _properties(result: CheckResult) -> Table:
    """Return a table with a line for each property: in each dtype, ``holds`` or the number of rows that fail it."""
    dtypes = list(result.grades_by_quantity)
    table = _table("property", *dtypes)
    refused = {(name, dtype) for name, dtype, _ in refusals(result.lines)}
    for name, lines in result.properties.groupby("property", sort=False):
        tried = lines[lines["rows"] > 0]
        counts = zip(tried["dtype"], tried["rows"], tried["failed"], strict=True)
        holds = "not required" if name == ARGUMENTS and result.overwritten else "holds"
        held = {dtype: "refused" if (name, dtype) in refused else holds for dtype in dtypes}
        cells = {dtype: f"{failed:,} of {rows:,} fail" if failed else held[dtype] for dtype, rows, failed in counts}
        table.add_row(str(name), *(cells.get(dtype, "not tried") for dtype in dtypes))
    return table


def _worst_rows(result: CheckResult) -> Iterator[str]:
    """Yield the worst row of each case and quantity, up to `WORST`."""
    graded = result._worst_first[result._worst_first["status"] == Status.OK]
    distinct = graded.drop_duplicates(["case", "quantity"])
    if not distinct.empty:
        yield "Worst rows:"
    for line in each_line(distinct.head(WORST)):
        yield f"{line.named}: {line.quantity} {_fault(line)}"


def _warnings(result: CheckResult) -> Iterator[str]:
    if result.warnings:
        yield "Warnings of the loss:"
    yield from map(str, result.warnings)


def _fault(line: Line) -> str:
    """Return the grade and numbers of a row."""
    if line.verdict == WRONG and line.detail:
        return f"{line.verdict}: {line.detail}"
    if line.verdict == DIFFERS:
        return line.detail or "gave other bits in the second of two equal calls"
    # A gradient has many numbers, which the program prints; the line has its error only.
    derivative = line.quantity == Quantity.GRADIENT and line.verdict != WRONG
    numbers = "" if derivative else f", {line.value:.6g} where {line.exact:.6g} is exact"
    error = f", off by {line.max_ulp:.3g} ulp" if np.isfinite(line.max_ulp) else ""
    return f"{line.grade or line.verdict}{numbers}{error}"
