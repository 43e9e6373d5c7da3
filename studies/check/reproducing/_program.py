"""The program of a failure, run in a new process before it is shown."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd

from ....core.formats import FORMATS
from ....core.vocabulary import Quantity, Status
from ..batches._presentation import Argument, CallKind
from ..batches._rows import PresentedRows
from ..forms._import import definition
from ..forms._layout import rows_of
from ..judging._wording import wrapped
from ..measuring._lines import Line, Mask, Required, fails, table
from ..measuring._loss import Candidate
from ..measuring._measure import OTHER_DTYPE, grade_printed
from ._contrast import Contrast
from ._script import NOTHING, Constant, Earlier, script

SECONDS = 120  # the longest time of a program
MAX_RUNS = 12  # of programs with earlier calls
REPEATS = 50  # equal calls that are tried before the one that fails
LARGEST = 2**20  # logits of an earlier batch
NUMBERS = (0.0, 100.0, float("nan"))  # the numbers of earlier batches of the same shape
_NOT_FOUND = re.compile(r"^(ModuleNotFound|Import)Error", re.MULTILINE)
MAX_PRINTED = 400  # characters of a line of a program's output


class Shown(StrEnum):
    """The result of a program in a new process."""

    FAILURE = "failure"
    AFTER_CALLS = "failure after earlier calls"
    NOTHING = "no failure"
    ERROR = "error"
    NO_END = "no end"


# Calls whose two printed results are compared.
_COMPARED = {CallKind.AGAIN: ("first call", "second call"), CallKind.TWICE: ("first gradient", "given")}


@dataclass(frozen=True)
class ProgramRun:
    """A run of a program in a new process.

    Attributes:
        shown: what it showed.
        printed: what it printed; of an exception the last line.
        problem: why the loss cannot be imported, and what to do; empty if it can.
    """

    shown: Shown
    printed: str
    problem: str = ""


@dataclass(frozen=True)
class _Ended:
    code: int | None  # None after a timeout
    out: str
    error: str


@dataclass(frozen=True, eq=False)
class Demonstration:
    """A failure and its program.

    Attributes:
        candidate, rows, quantity, other, property: as for `script`.
        line: the line of the failing row.
        required: the grades that pass.
    """

    candidate: Candidate
    rows: PresentedRows
    quantity: Quantity
    other: Contrast | None
    property: str | None
    line: Line | None
    required: Required

    def script(self, earlier: Earlier = NOTHING, *, copied: bool = False) -> str:
        """Return the program."""
        written = None if self.line is None or self.line.written is None else Argument(self.line.written)
        raised = self.line is not None and self.line.status != Status.OK and written is None
        rows = self.rows
        if rows.how.call is CallKind.AFTER_DTYPE:
            other = Constant(OTHER_DTYPE[rows.dtype], len(rows), rows.classes)
            earlier = replace(earlier, batches=(*earlier.batches, other))
        return script(
            self.candidate, self.rows, self.quantity, self.other, self.property, written, raised=raised,
            earlier=earlier, copied=copied,
        )  # fmt: skip

    def run(self, history: Sequence[Constant]) -> tuple[str, ProgramRun]:
        """Run the program in a new process, and return it with what it showed.

        If it does not show the failure, the batches of the history are called first, and those that are needed stay.
        """
        program, problem = self.script(), self._problem()
        ended = _run(program)
        if not self._fails(ended) and _NOT_FOUND.search(ended.error) and not problem:
            # The module of the loss is known to this process alone, such as one that a test runner imports.
            copy = self.script(copied=True)
            again = _run(copy)
            if again.code == 0 or self._fails(again):
                program, ended = copy, again
        if self._fails(ended):
            return program, ProgramRun(Shown.FAILURE, _printed(ended), problem)
        if ended.code is None:
            return program, ProgramRun(Shown.NO_END, _printed(ended), problem)
        if ended.code:
            return program, ProgramRun(Shown.ERROR, _printed(ended), problem)
        found = self._after_earlier_calls(history)
        return found or (program, ProgramRun(Shown.NOTHING, _printed(ended), problem))

    def _problem(self) -> str:
        found = definition(self.candidate.loss, self.candidate.name, "loss").problem
        if found or self.candidate.gradient is None or self.quantity is not Quantity.GRADIENT:
            return found
        return definition(self.candidate.gradient, "", "gradient_of").problem.replace("the loss", "the gradient", 1)

    def _after_earlier_calls(self, history: Sequence[Constant]) -> tuple[str, ProgramRun] | None:
        rows = self.rows
        same = [Constant(rows.dtype, len(rows), rows.classes, number) for number in NUMBERS]
        batches = tuple(dict.fromkeys(batch for batch in (*history, *same) if batch.size * batch.classes <= LARGEST))
        runs: dict[Earlier, _Ended] = {}

        def shows(earlier: Earlier) -> bool:
            if earlier not in runs and len(runs) < MAX_RUNS:
                runs[earlier] = _run(self.script(earlier))
            return earlier in runs and self._fails(runs[earlier])

        best = Earlier(batches, REPEATS)
        if not shows(best):
            return None
        for fewer in (Earlier(repeats=1), Earlier(repeats=REPEATS), Earlier(batches)):
            if shows(fewer):
                best = fewer
                break
        size = len(best.batches) // 2
        while size:
            start = 0
            while start < len(best.batches):
                fewer = replace(best, batches=best.batches[:start] + best.batches[start + size :])
                if shows(fewer):
                    best = fewer
                else:
                    start += size
            size //= 2
        return self.script(best), ProgramRun(Shown.AFTER_CALLS, _printed(runs[best]), self._problem())

    # --- what it shows ----------------------------------------------------------------------------------------

    def _fails(self, ended: _Ended) -> bool:
        """Return whether the output shows the failure."""
        line = self.line
        if line is None or ended.code is None:
            return False
        if line.written is not None:
            return self._differ(ended, f"{line.written} before", f"{line.written} after")
        if line.status != Status.OK:
            return ended.code != 0 and str(line.detail).partition(":")[0] in ended.error.strip().rpartition("\n")[2]
        if self.rows.how.call is CallKind.REPEATED:
            return _value(ended, "call 1") is not None
        if self.rows.how.call in _COMPARED:
            return self._differ(ended, *_COMPARED[self.rows.how.call])
        given = _value(ended, "given")
        return ended.code == 0 and given is not None and self._grade_fails(given)

    def _differ(self, ended: _Ended, one: str, other: str) -> bool:
        first, second = _value(ended, one), _value(ended, other)
        return first is not None and second is not None and first != second

    def _grade_fails(self, given: str) -> bool:
        dtype = FORMATS[self.line.out_dtype].dtype if self.line is not None and self.line.out_dtype else None
        try:
            numbers = json.loads(re.sub(r"\binf\b", "Infinity", re.sub(r"\bnan\b", "NaN", given)))
            array = np.array(numbers, np.float64).astype(dtype)
            array = rows_of(array, self.candidate.form)  # a gradient is printed in the loss's layout
            lines = table(grade_printed(self.rows, self.quantity, array))
        except (ValueError, IndexError):  # other words, or another shape
            return False
        return bool(fails(lines, self.required).any())


def shapes_before(lines: pd.DataFrame, failed: Mask) -> list[Constant]:
    """Return the shapes and dtypes of the batches up to the first that fails, in the order of their first calls."""
    until = lines.iloc[: int(np.flatnonzero(failed)[0]) + 1]
    sizes = until.groupby(["dtype", "classes", "how"], sort=False)["place"].max() + 1
    each = zip(sizes.index.get_level_values(0), sizes, sizes.index.get_level_values(1), strict=True)
    return list(dict.fromkeys(Constant(dtype, int(size), int(classes)) for dtype, size, classes in each))


def _value(ended: _Ended, name: str) -> str | None:
    """Return the first value that was printed with this name."""
    lines = (line.partition(": ") for line in ended.out.splitlines())
    return next((value for start, _, value in lines if start == name), None)


def _printed(ended: _Ended) -> str:
    last = ended.error.strip().splitlines()[-1:] if ended.code else []
    lines = [*ended.out.splitlines(), *last]
    return "\n".join(map(_shortened, lines))


def _shortened(line: str) -> str:
    """Return a line without the middle if it is long: the first or the last row of a batch is the one that fails."""
    half = MAX_PRINTED // 2
    return line if len(line) <= MAX_PRINTED else f"{line[:half]} ... {line[-half:]}"


def _run(program: str) -> _Ended:
    """Run a program in the current folder."""
    with tempfile.TemporaryDirectory(prefix="logitlab-") as folder:
        file = Path(folder) / "reproduce.py"
        file.write_text(program, encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, str(file)], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
                check=False, text=True, encoding="utf-8", errors="replace",
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return _Ended(None, "", f"no end after {SECONDS} seconds")
    return _Ended(done.returncode, done.stdout, done.stderr)


def run_once(program: str, *, raises: bool) -> tuple[ProgramRun, bool]:
    """Run a program in a new process; return what it printed, and whether a module was missing.

    ``raises`` means that an exception is the failure that it shows.
    """
    ended = _run(program)
    missing = _NOT_FOUND.search(ended.error) is not None
    if ended.code is None:
        return ProgramRun(Shown.NO_END, _printed(ended)), missing
    shown = Shown.ERROR if ended.code and (missing or not raises) else Shown.FAILURE
    return ProgramRun(shown, _printed(ended)), missing


_WORDS = {
    Shown.FAILURE: "In a new process it prints:",
    Shown.AFTER_CALLS: "It shows the failure only after the earlier calls. In a new process it prints:",
    Shown.NOTHING: (
        "In a new process it does not show the failure, which needs earlier calls of the check or happens only "
        "sometimes. It prints:"
    ),
    Shown.ERROR: "In a new process it does not run:",
    Shown.NO_END: f"In a new process it does not end within {SECONDS} seconds.",
}


def words_of(run: ProgramRun, width: int) -> Iterator[str]:
    """Yield the lines of a report about the run."""
    if run.problem:
        yield wrapped(f"{run.problem[:1].upper()}{run.problem[1:]}.", width)
    yield wrapped(_WORDS[run.shown], width)
    yield from (f"    {line}" for line in run.printed.splitlines())
