"""The result of a check of a loss of hidden states, and its text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ....core import interpreting
from ....core.counting import count
from ....core.vocabulary import Problem, Quantity, Status, worst_grade
from .._result import CheckResult
from ..judging._wording import message_key, unsupported_dtypes, wrapped
from ..measuring._lines import DIFFERS, WRONG, Mask, badnesses
from ..reproducing._program import words_of
from ._form import LinearForm
from ._lines import LinearLine, each_line
from ._presentations import ARGUMENTS, PRESENTATIONS, PROPERTIES, How
from ._shrink import SmallestBatch

FAILURE_COLUMNS = (
    "dtype", "case", "row", "quantity", "how", "status", "grade", "verdict", "value", "exact", "max_ulp", "breaks",
    "options", "detail",
)  # fmt: skip
WORST = 8  # shown rows
MESSAGES = 5  # shown messages
_KEYS = ["dtype", "case", "quantity"]


@dataclass(frozen=True, eq=False)
class LinearCheckResult(CheckResult):
    """The result of a check of a loss of hidden states.

    ``lines`` has a line for each row's loss and gradient by its hidden state, and for each batch's gradients by weight
    and bias, whose ``row`` is -1. ``value`` and ``exact`` of a gradient are those of its worst entry, which ``detail``
    names.

    Attributes:
        linear_form: how the loss is called.
        takes_bias: whether it takes a bias.
        program: the smallest batch that fails, with its program; None if there is none.
    """

    linear_form: LinearForm = field(default_factory=LinearForm)
    takes_bias: bool = False
    program: SmallestBatch | None = None

    @cached_property
    def _failed(self) -> Mask:
        missing = self.lines["dtype"].isin([d for d in self.asked if d in unsupported_dtypes(self.lines)])
        failing = [line.fails(self._required) for line in each_line(self.lines)]
        return np.array(failing, bool) | missing.to_numpy(bool)

    @cached_property
    def grades_by_quantity(self) -> dict[str, dict[str, str]]:
        """The worst grade of each quantity: ``{dtype: {"loss": grade, "gradient_hidden": grade, ...}}``."""
        return {
            str(dtype): {
                q.value: _outcome(some) for q in Problem.LINEAR.quantities if len(some := lines[lines["quantity"] == q])
            }
            for dtype, lines in self.lines.groupby("dtype", sort=False)
        }

    @cached_property
    def _breaks(self) -> pd.Series[str]:
        """The property that each line breaks: only if the batch as given does not fail."""
        lines = self.lines
        plainly = lines[self._failed & lines["how"].eq(How.GIVEN).to_numpy(bool)]
        elsewhere = pd.MultiIndex.from_frame(lines[_KEYS]).isin(pd.MultiIndex.from_frame(plainly[_KEYS]))
        broken = lines["how"].map({how.value: p.property for how, p in PRESENTATIONS.items()})
        broken = broken.where(self._failed & ~elsewhere, "")
        return broken.mask(self._failed & lines["detail"].str.startswith("the loss writes into"), ARGUMENTS)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """The lines that fail, worst first, with the columns `FAILURE_COLUMNS`; batches as given come first."""
        found = self.lines.assign(breaks=self._breaks)[self._failed]
        order = found.assign(_bad=badnesses(found), _plainly=found["how"].eq(How.GIVEN))
        order = order.sort_values(["_bad", "_plainly", "max_ulp"], ascending=False, kind="stable")
        return order[list(FAILURE_COLUMNS)].reset_index(drop=True)

    @cached_property
    def properties(self) -> pd.DataFrame:
        """Each property in each dtype: how many lines test it, how many fail, and whether it ``held``."""
        tests = self.lines["how"].map({how.value: p.property for how, p in PRESENTATIONS.items()})
        found = []
        for name in PROPERTIES:
            for dtype in pd.unique(self.lines["dtype"]):
                own = self.lines["dtype"] == dtype
                tried = int((own & (tests.eq(name) | (name == ARGUMENTS))).sum())
                failed = int((own & self._breaks.eq(name)).sum())
                found.append((name, str(dtype), tried, failed, not failed))
        return pd.DataFrame(found, columns=["property", "dtype", "rows", "failed", "held"])

    @property
    def overwritten(self) -> tuple[str, ...]:
        """Nothing: a loss of hidden states may not write into its arguments."""
        return ()

    @property
    def script(self) -> str | None:
        """A short Python program that reproduces the failure without LogitLab; None if there is none."""
        return None if self.program is None else self.program.script

    # --- text -------------------------------------------------------------------------------------------------------

    def paragraphs(self, width: int) -> Iterator[RenderableType]:
        """Yield the parts of the report, without the program."""
        where = f"{self.framework} {self.version}, {self.device}, {self.mode}, of hidden states"
        yield Text(f"{self.name}: {'passed' if self.passed else 'FAILED'}, {self._required} required ({where})")
        also = [*self.options, *["bias"] * self.takes_bias]
        if also:
            yield Text(wrapped(f"Measured with and without {', '.join(also)}", width))
        yield from (Text(wrapped(note, width)) for note in interpreting.notes([self.mode]))
        if str(self.limits):
            yield Text(f"Limited to {self.limits}")
        if not self.complete:
            yield Text("Stopped before the end: the grades cover only the batches tried so far")
        yield self._grades()
        for dtype, message in unsupported_dtypes(self.lines).items():
            yield Text(wrapped(f"{dtype}  unsupported: {message}", width))
        if not self.gradient_checked:
            yield Text(wrapped(f"No gradient was checked, since {self.framework} does not differentiate", width))
        for paragraph in (self._broken(), self._differing(), self._worst(), self._messages(), self._warned()):
            lines = list(paragraph)
            if lines:
                yield Text("\n" + "\n".join(wrapped(line, width) for line in lines))

    def program_text(self, width: int) -> Iterator[str]:
        """Yield the program of the smallest batch that fails."""
        found = self.program
        if found is None:
            return
        if found.script is None:
            yield f"\nThe smallest batch that fails has {found.question.size:,} numbers, too many for a program."
            return
        yield "\nA program that reproduces the failure with the smallest batch found:\n"
        yield found.script
        if found.run is not None:
            yield "\n".join(words_of(found.run, width))

    def _grades(self) -> Table:
        quantities = [q.value for q in Problem.LINEAR.quantities if self.lines["quantity"].eq(q).any()]
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name in ("dtype", *quantities, "lines", "failed"):
            table.add_column(name, overflow="fold", justify="right" if name in ("lines", "failed") else "left")
        refused = unsupported_dtypes(self.lines)
        for dtype, grades in self.grades_by_quantity.items():
            own = (self.lines["dtype"] == dtype).to_numpy(bool)
            cells = (grades.get(q, "-") for q in quantities)
            if dtype not in refused:
                table.add_row(dtype, *cells, f"{own.sum():,}", f"{(own & self._failed).sum():,}")
        return table

    def _broken(self) -> Iterator[str]:
        failing = self.properties[~self.properties["held"]]
        for name, lines in failing.groupby("property", sort=False):
            each = (
                f"{f:,} of {n:,} lines in {d}" for d, n, f in zip(lines.dtype, lines.rows, lines.failed, strict=True)
            )
            yield f"Broken: {name} ({', '.join(each)})"

    def _differing(self) -> Iterator[str]:
        differing = self.lines[self.lines["verdict"].eq(DIFFERS)]
        if len(differing):
            line = next(each_line(differing))
            yield f"Other bits in the second of two calls: {count(len(differing), 'result')}, such as {line.named}"

    def _worst(self) -> Iterator[str]:
        graded = self.failures[self.failures["status"].eq(Status.OK)]
        # A failure in another presentation says more only if the batch as given does not fail.
        graded = graded[graded["how"].eq(How.GIVEN) | graded["breaks"].ne("")].drop_duplicates(["quantity", "case"])
        if len(graded):
            yield "Worst rows:"
        for line in each_line(graded.head(WORST)):
            yield f"{line.named}: {line.quantity} {_fault(line)}"

    def _messages(self) -> Iterator[str]:
        refused = self.lines["dtype"].isin(list(unsupported_dtypes(self.lines)))
        some = self.lines[self.lines["status"].ne(Status.OK) & ~refused]
        kinds = [kind for _, kind in some.groupby(some["detail"].map(message_key), sort=False)]
        for kind in kinds[:MESSAGES]:
            line = next(each_line(kind))
            yield f"{line.status.capitalize()}: {line.detail} ({count(len(kind), 'call')}, such as {line.named})"

    def _warned(self) -> Iterator[str]:
        if self.warnings:
            yield "Warnings of the loss:"
        yield from map(str, self.warnings)


def _outcome(lines: pd.DataFrame) -> str:
    """Return the worst grade of some lines, and the statuses of calls without a result."""
    statuses = [s for s in pd.unique(lines["status"]) if s != Status.OK]
    grade = worst_grade(lines["grade"])
    return "; ".join([*statuses, *([grade] if grade is not None else [])]) or "-"


def _fault(line: LinearLine) -> str:
    """Return the grade and numbers of a line."""
    if line.verdict == WRONG:
        return f"{line.verdict}: {line.detail}"
    numbers = f"{line.grade}, {line.value:.6g} where {line.exact:.6g} is exact"
    if line.quantity != Quantity.LOSS:  # its largest error in ulp may be that of an entry near 0
        return f"{numbers} ({line.detail})"
    return f"{numbers}, off by {line.max_ulp:.3g} ulp" if np.isfinite(line.max_ulp) else numbers
