"""The result of a comparison of bits, and its text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ....core import interpreting
from ....core.bitwise import Property
from ....core.counting import count
from ....core.vocabulary import Status
from .._result import CheckResult
from ..judging._wording import unsupported_dtypes, wrapped
from ..measuring._lines import Mask
from ..reproducing._program import words_of
from ._program import BitwiseProgram

COLUMNS = (
    "dtype", "classes", "property", "quantity", "rows", "different", "max_ulp", "row", "where", "status", "detail",
)  # fmt: skip
FAULTS = 5  # shown messages
_EQUAL = "equal"


@dataclass(frozen=True, eq=False)
class BitwiseResult(CheckResult):
    """The result of a check of bits.

    ``lines`` has a line for each dtype, width, property and quantity: how many ``rows`` were compared, and how many are
    ``different``. ``max_ulp`` is the largest distance, ``row`` its row, and ``where`` its call. ``properties`` has each
    property in each dtype. There are no grades.

    Attributes:
        program: a program that shows a difference; None if there is none.
        sets_threads: whether the process can set its number of threads, so that they were tried.
    """

    program: BitwiseProgram | None = None
    sets_threads: bool = False

    @cached_property
    def _failed(self) -> Mask:
        missing = self.lines["dtype"].isin([d for d in self.asked if d in unsupported_dtypes(self.lines)])
        ended = ~self.lines["status"].isin([Status.OK, Status.UNSUPPORTED])
        return (self.lines["different"].gt(0) | ended | missing).to_numpy(bool)

    @cached_property
    def grades(self) -> dict[str, str]:
        """Nothing: bits have no grade."""
        return {}

    @cached_property
    def grades_by_quantity(self) -> dict[str, dict[str, str]]:
        """Nothing: bits have no grade."""
        return {}

    @cached_property
    def failures(self) -> pd.DataFrame:
        """The lines with other bits or without a result, those of the largest distance first."""
        failing = self.lines[self._failed]
        return failing.sort_values("max_ulp", ascending=False, kind="stable").reset_index(drop=True)

    @cached_property
    def properties(self) -> pd.DataFrame:
        """Each property in each dtype: how many results test it, how many have other bits, and whether it ``held``."""
        lines = self.lines.assign(failed=self._failed)
        groups = lines[lines["status"] != Status.UNSUPPORTED].groupby(["property", "dtype"], sort=False)
        found = groups.agg(rows=("rows", "sum"), different=("different", "sum"), failed=("failed", "any")).reset_index()
        found["held"] = ~found.pop("failed")
        return found.rename(columns={"different": "failed"})

    @property
    def overwritten(self) -> tuple[str, ...]:
        """Nothing: each call gets new arrays."""
        return ()

    @property
    def script(self) -> str | None:
        """A short Python program that shows a difference without LogitLab; None if there is none."""
        return None if self.program is None else self.program.script

    # --- text -------------------------------------------------------------------------------------------------------

    def paragraphs(self, width: int) -> Iterator[RenderableType]:
        """Yield the parts of the report, without the program."""
        where = f"{self.framework} {self.version}, {self.device}, {self.mode}"
        yield Text(f"{self.name}: {'passed' if self.passed else 'FAILED'}, equal bits required ({where})")
        yield from (Text(wrapped(note, width)) for note in interpreting.notes([self.mode]))
        if str(self.limits):
            yield Text(f"Limited to {self.limits}")
        if not self.complete:
            yield Text("Stopped before the end: only the widths tried so far are compared")
        yield self._by_dtype()
        for dtype, message in unsupported_dtypes(self.lines).items():
            yield Text(wrapped(f"{dtype}  unsupported: {message}", width))
        if not self.sets_threads:
            yield Text(wrapped(_NO_THREADS.format(framework=self.framework), width))
        if not self.gradient_checked:
            yield Text(wrapped(f"No gradient was compared, since {self.framework} does not differentiate", width))
        for paragraph in (self._changes(), self._ended(), self._warned()):
            lines = list(paragraph)
            if lines:
                yield Text("\n" + "\n".join(wrapped(line, width) for line in lines))

    def program_text(self, width: int) -> Iterator[str]:
        """Yield the program of the smallest difference."""
        if self.program is None:
            return
        yield "\nA program that shows a difference:\n"
        yield self.program.script
        if self.program.run is not None:
            yield "\n".join(words_of(self.program.run, width))

    def _by_dtype(self) -> Table:
        """Return a table with a line for each dtype: for each property ``equal``, or the largest distance."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        tried = [p for p in Property if self.lines["property"].eq(p).any()]
        for name in ("dtype", *tried):
            table.add_column(str(name), overflow="fold")
        refused = unsupported_dtypes(self.lines)
        for dtype, lines in self.lines.groupby("dtype", sort=False):
            if dtype not in refused:
                table.add_row(str(dtype), *(_cell(lines[lines["property"] == p]) for p in tried))
        return table

    def _changes(self) -> Iterator[str]:
        """Yield a sentence for each dtype, width and property with other bits."""
        changed = self.lines[self.lines["different"] > 0]
        if changed["property"].eq(Property.REPEATED).any():
            yield "Equal calls differ: a race, or random numbers. All other differences may have this cause."
        if len(changed):
            yield "Other bits:"
        for _, lines in changed.groupby(["dtype", "classes", "property"], sort=False):
            worst = lines.iloc[int(lines["max_ulp"].to_numpy().argmax())]
            kind = Property(str(worst["property"]))
            each = " and ".join(
                f"the {q} of {d:,} of {count(n, 'row')}"
                for q, d, n in zip(lines["quantity"], lines["different"], lines["rows"], strict=True)
            )
            yield (
                f"{worst['dtype']}, {worst['classes']:,} classes, {kind} ({kind.meaning}): {each}; at most "
                f"{distance(worst['max_ulp'])}, in row {worst['row']} {worst['where']}"
            )

    def _ended(self) -> Iterator[str]:
        """Yield the messages of calls without a result."""
        refused = self.lines["dtype"].isin(list(unsupported_dtypes(self.lines)))
        ended = self.lines[self.lines["status"].ne(Status.OK) & ~refused].drop_duplicates("detail")
        for line in ended.head(FAULTS).itertuples():
            place = f"{line.dtype}, {line.classes:,} classes, {line.where}"
            yield f"{str(line.status).capitalize()}: {line.detail} ({place})"

    def _warned(self) -> Iterator[str]:
        if self.warnings:
            yield "Warnings of the loss:"
        yield from map(str, self.warnings)


_NO_THREADS = (
    "Other numbers of threads were not tried: a process of {framework} cannot change its number. For implementations "
    "of LogitLab, `logitlab run --bitwise` compares two processes"
)


def distance(ulp: float) -> str:
    """Return a distance in words."""
    return f"{ulp:,.0f} ulp" if np.isfinite(ulp) else "a number against NaN or infinity"


def _cell(lines: pd.DataFrame) -> str:
    if lines.empty:
        return "not tried"
    ended = lines.loc[lines["status"] != Status.OK, "status"]
    if len(ended):
        return str(ended.iloc[0])
    return distance(float(lines["max_ulp"].max())) if lines["different"].any() else _EQUAL
