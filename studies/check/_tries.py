"""The tries of a check: every batch in every presentation; and the rows that fail worst."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd

from ...cases import Case
from ...core.errors import UsageError
from ...core.formats import FORMATS, Format, get_format, quantize
from ...core.progress import Progress
from ...core.vocabulary import Quantity, Status
from ...execution.worker import Outcome
from ...frameworks import Batch
from ._again import presented_again
from ._lines import Line, Lines, Mask, badness, each_line
from ._loss import REDUCED, Candidate
from ._measure import measure
from ._presentation import CATALOGUED
from ._properties import KEYS, PROPERTIES, explaining
from ._rows import PresentedRows, batches, number_of_batches
from ._shrink import Failing

PROBED = ((3, 5), (2, 2), (128, 1024))  # (B, C): narrow rows, and a batch that a kernel's blocks divide
MAX_SHRUNK = 300_000  # logits of a batch to shrink; with more, each step takes too long
COPIED_FROM = 256  # from this many rows before a failing one, copies replace them
WORST_SHRUNK = 5  # failing rows that are shrunk to find the smallest


@dataclass(frozen=True, eq=False)
class Tries:
    """A loss, its cases and the dtypes; ``few_shapes`` is set if each shape is compiled."""

    candidate: Candidate
    cases: Sequence[Case]
    dtypes: Sequence[str]
    few_shapes: bool

    def measured(self, progress: Progress | None) -> Iterator[list[Lines]]:
        """Yield the lines of each batch in each presentation.

        Raises:
            UsageError: if neither the first batch nor any ordinary batch can be measured.
        """
        formats = [get_format(dtype) for dtype in self.dtypes]
        total = sum(number_of_batches(self.cases, fmt) for fmt in formats) if progress is not None else 0
        done = 0
        for fmt in formats:
            if fmt is not formats[0]:
                self.candidate.framework.forget_programs()  # those of another dtype
            for rows in batches(self.cases, fmt, few_shapes=self.few_shapes):
                if progress is not None:
                    progress(done, total, f"{fmt.name}, {rows.classes:,} classes")
                once = measure(self.candidate, rows)
                as_it_stands = all(lines.status == Status.OK for lines in once)
                if done == 0 and not as_it_stands:
                    _require_measurable(self.candidate, self.dtypes)
                done += 1
                yield once
                # Rows that raise or are not supported are not tried in other presentations.
                for again in presented_again(rows, few_shapes=self.few_shapes) if as_it_stands else ():
                    yield measure(self.candidate, again)
        if not done:
            _require_measurable(self.candidate, self.dtypes)

    def presented(self, fmt: Format, classes: int) -> Iterator[PresentedRows]:
        """Yield the rows of a width in each presentation, as they were measured."""
        cases = [case for case in self.cases if case.classes == classes]
        for rows in batches(cases, fmt, few_shapes=self.few_shapes):
            yield rows
            yield from presented_again(rows, few_shapes=self.few_shapes)


def _require_measurable(candidate: Candidate, dtypes: Sequence[str]) -> None:
    """Raise a UsageError, with the error of the first call, if no ordinary batch gives row losses in any dtype.

    The same holds for a user's gradient function. A loss that fails on some inputs or dtypes only is measured, and its
    failures are reported.
    """
    rng = np.random.default_rng(0)
    wanted = set(candidate.quantities if candidate.gradient is not None else ("loss",))
    tried: list[Outcome] = []
    for shape, dtype in product(PROBED, dict.fromkeys([*dtypes, *FORMATS])):
        logits = quantize(np.round(rng.normal(size=shape) * 16) / 16, get_format(dtype))
        tried.append(candidate.call(Batch(logits, rng.integers(shape[1], size=shape[0]))))
        if wanted <= {quantity for quantity, _ in tried[-1].values}:
            return
    what = "the gradient" if tried[0].values else "the loss"
    detail = tried[0].detail
    advice = "expected row losses (B,) of logits (B, C) and targets (B,)"
    if REDUCED in detail:
        advice = (
            'for a loss that returns its mean or sum, add an argument reduction that accepts "none", "mean" and "sum", '
            'or check the same loss with reduction="none"'
        )
    raise UsageError(f"cannot measure {what} of {candidate.name}: every call fails, the first with {detail}; {advice}")


def worst_rows(lines: pd.DataFrame, failed: Mask, tries: Tries) -> Iterator[Failing]:
    """Yield a few of the rows that fail worst and break the property that explains most failures; narrow rows first."""
    name = explaining(lines, failed)
    broken = failed if name is None else PROPERTIES[name].breaks(lines, failed)
    # If a row is right in another presentation, its failure in the catalogue's own counts.
    keys = pd.MultiIndex.from_frame(lines[KEYS])
    plainly = lines["how"].eq(str(CATALOGUED)).to_numpy(bool)
    failures = lines[failed & (broken | (plainly & keys.isin(keys[broken & ~failed])))]
    # Prefer finite numbers: a loss that mishandles NaN often has another defect too.
    numbers = failures[~failures["has_nan"]]
    finite = numbers[~numbers["has_mask"]]
    worst = next(some for some in (finite, numbers, failures) if not some.empty)
    bad = worst["grade"].map(badness)
    worst = worst[bad == bad.max()]
    narrow = worst.assign(_other=worst["how"].ne(str(CATALOGUED))).sort_values(["_other", "classes"], kind="stable")
    few = narrow.drop_duplicates(["classes", "how", "quantity", "dtype"]).head(WORST_SHRUNK)
    for line in each_line(few):
        yield from (replace(each, property=name) for each in _batch_of(line, tries))


def _batch_of(line: Line, tries: Tries) -> Iterator[Failing]:
    for rows in tries.presented(get_format(line.dtype), line.classes):
        if str(rows.how) != line.how:
            continue
        place, quantity = line.place, Quantity(line.quantity)
        # A reduced loss does not belong to a row.
        number = line.row if line.row < 0 or place >= len(rows) else rows.numbers[place]
        if place < len(rows) and (rows.ids[place], number) == (line.case, line.row):
            if rows.logits.size > MAX_SHRUNK:
                return
            start = place // rows.per_call * rows.per_call if rows.per_call else 0
            called, place = rows.take(np.s_[start : start + (rows.per_call or len(rows))]), place - start
            # First in its batch if it fails there too, else last in a batch of the same size. In a very large batch
            # the other rows are copies of it, which a program can write in one line.
            foremost = np.r_[place, np.delete(np.arange(len(called)), place)]
            yield Failing(called.take(foremost), 0, quantity, None)
            if rows.options.reduced:
                return
            before = np.s_[: place + 1] if place < COPIED_FROM else np.full(place + 1, place)
            yield Failing(called.take(before), place, quantity, None)
            return
