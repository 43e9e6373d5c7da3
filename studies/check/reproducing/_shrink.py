"""The search for the smallest input that breaks the same property: few rows, few classes, round numbers.

This is delta debugging: a part is removed, or a number rounded, if the loss then still fails as badly and in the same
way. The search ends when no single step succeeds, or after a fixed number of steps. It never depends on the clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....core.vocabulary import Quantity, Status
from ..._shrinking import roughness, rounder
from ..batches._limits import NO_LIMITS, Limits
from ..batches._presentation import CallKind
from ..batches._rows import PresentedRows
from ..judging._failures import Failures
from ..judging._properties import OFFSET, PROPERTIES
from ..judging._wording import message_key
from ..measuring._lines import Line, Mask, Required, badness, each_line, fails, table
from ..measuring._loss import Candidate
from ..measuring._measure import measure
from ._contrast import Contrast, contrasts, on_their_own
from ._program import Demonstration, ProgramRun
from ._script import Constant
from ._smaller import distinct, plain_numbers, some_classes, some_rows, with_logits

Array = NDArray[Any]

STEPS = 600.0  # for all failing rows together
OF_ONE = 0.4  # the largest share of the steps for one row
CALLS_A_STEP = 500  # each further 500 equal calls count as another step
LOGITS_A_STEP = 2000  # each further 2000 logits of a call count as another step
NARROW_FROM = 20_000  # logits: a larger input is narrowed first, in few steps
NARROW_LOGITS = 2**23  # logits of all calls that narrow failing rows
OF_A_CALL = 2**16  # logits that take as long as the rest of a call
SMALL = 4  # logits: an input of this size is not shrunk further
FACTORS = (2.0, -1.0, 0.5, 3.0, -2.5, 4 / 3)  # ordinary upstream gradients that are tried first


@dataclass(frozen=True, eq=False)
class Failing:
    """A failing row: its index ``place`` in the batch, the quantity, and the broken property or None."""

    rows: PresentedRows
    place: int
    quantity: Quantity
    property: str | None


@dataclass(frozen=True, eq=False)
class Smallest:
    """The smallest failing input found, and a program that reproduces the failure.

    Attributes:
        logits, targets: (B, C) in the dtype, and (B,); the first or the last row fails, others are needed with it.
        dtype, quantity, how: the dtype, the quantity and the presentation.
        property: the property that it breaks, like the original row; None if it breaks none.
        grade, detail: the row's grade, or the message of an exception.
        loss: (B,), the exact row losses; () with a reduction.
        script: the source of the Python program.
        run: what the program did in a new process; None if it was not run.
    """

    logits: Array
    targets: Array
    dtype: str
    quantity: str
    how: str
    property: str | None
    grade: str | None
    detail: str
    loss: NDArray[np.float64]
    script: str
    run: ProgramRun | None = None


def find_smallest(
    candidate: Candidate,
    failing: Sequence[Failing],
    required: Required,
    limits: Limits = NO_LIMITS,
    history: Sequence[Constant] | None = None,
) -> Smallest | None:
    """Return the smallest input that the failing rows shrink to, preferably without NaN; None if none fails again.

    With a history, the shapes of the batches before the failure, its program is run in a new process.
    """
    # If no row breaks the property again, as with a loss that has changed its state, any failure of a row counts.
    found = _shrunk(candidate, failing, required, limits)
    if not found:
        anyhow = [replace(each, property=None) for each in failing if each.property]
        found = _shrunk(candidate, anyhow, required, limits)
    if not found:
        return None
    smallest, demonstration = min(found, key=lambda pair: _size(pair[0].logits))
    if history is None:
        return smallest
    program, run = demonstration.run(history)
    return replace(smallest, script=program, run=run)


def _shrunk(
    candidate: Candidate, failing: Sequence[Failing], required: Required, limits: Limits
) -> list[tuple[Smallest, Demonstration]]:
    """Return the smallest input that each row shrinks to, within the steps for all."""
    steps, logits = STEPS, NARROW_LOGITS
    found: list[tuple[Smallest, Demonstration]] = []
    for each in failing:
        most = min(steps, OF_ONE * STEPS), min(logits, NARROW_LOGITS // 2)
        shrinker = _Shrinker(candidate, each, required, limits, *most)
        shrunk = shrinker.smallest()
        steps, logits = steps - shrinker.steps_used, logits - shrinker.narrowed
        found += [] if shrunk is None else [shrunk]
        if steps <= 0 or (shrunk is not None and shrunk[0].logits.size <= SMALL):
            break
    return found


def _size(logits: Array) -> tuple[bool, int, tuple[int, int, float]]:
    return bool(np.isnan(logits).any()), logits.size, roughness(logits)


class _Shrinker:
    """The shrinking of one failing row, the first or the last; ``rows`` is the smallest failing input so far."""

    def __init__(
        self, candidate: Candidate, failing: Failing, required: Required, limits: Limits, steps: float, logits: int
    ) -> None:
        self._candidate, self._required = candidate, required
        self._quantity, self._property = failing.quantity, failing.property
        self._steps, self._logits, self._limits = steps, logits, limits
        self._like: Line | None = None
        self._at_least = 0
        self._last = failing.place > 0
        self.steps_used = 0.0
        self._narrowing, self.narrowed = False, 0  # logits
        self.rows = on_their_own(failing.rows)

    def smallest(self) -> tuple[Smallest, Demonstration] | None:
        wide = self.rows.logits.size > NARROW_FROM
        line = self._failure(self.rows, free=wide)
        if line is None:
            return None  # it does not fail in this order of the batch, or only sometimes
        self._like, self._at_least = line, badness(line.grade)
        if self.rows.how.call in (CallKind.WEIGHTED, CallKind.APART):
            self._plain_factors()
        if wide:
            self._narrow()
        self._fewer_rows()
        self._fewer_classes()
        self._rounder_numbers()
        self._fewer_classes()
        return self._shown()

    def _shown(self) -> tuple[Smallest, Demonstration]:
        rows, line = self.rows, self._failure(self.rows, free=True)
        other = self._contrast(rows, free=True)
        shown = Demonstration(self._candidate, rows, self._quantity, other, self._property, line, self._required)
        smallest = Smallest(
            rows.logits, rows.targets, rows.dtype, self._quantity.value, str(rows.how), self._property,
            grade=None if line is None else line.grade, detail="" if line is None else line.detail or "",
            loss=rows.exact.loss.hi, script=shown.script(),
        )  # fmt: skip
        return smallest, shown

    # --- whether rows fail ------------------------------------------------------------------------------------

    def _failure(self, rows: PresentedRows, *, free: bool = False) -> Line | None:
        """Return the line of the row's failure, or None if it does not fail or breaks another property."""
        lines = self._measure(rows, free=free)
        if lines is None:
            return None
        failed = fails(lines, self._required)
        place = self._place(rows)
        bad = np.flatnonzero(failed & self._of(lines, place))
        if not bad.size:
            return None
        line = next(each_line(lines.iloc[bad[:1]]))
        if self._property is not None and not PROPERTIES[self._property].breaks(Failures(lines, failed))[bad[0]]:
            return line if self._contrast(rows, free=free) is not None else None
        if next(contrasts(rows, place, self._property), None) is None:
            return line
        return line if self._property == OFFSET or self._contrast(rows, free=free) is not None else None

    def _of(self, lines: pd.DataFrame, place: int) -> Mask:
        """Return which lines belong to the failing row and have the same kind of error as the first failure."""
        mine = lines["quantity"] == self._quantity
        if self.rows.how.call is not CallKind.REPEATED:  # a race may change any row
            mine &= lines["place"] == np.where(lines["row"] < 0, 0, place)
        raised = lines["status"] != Status.OK
        if self._like is None:
            return (mine | raised).to_numpy(bool)
        if self._like.status == Status.OK:
            return (mine & ~raised).to_numpy(bool)
        like = lines["detail"].fillna("").map(message_key)
        return (raised & (like == message_key(self._like.detail or ""))).to_numpy(bool)

    def _contrast(self, rows: PresentedRows, *, free: bool = False) -> Contrast | None:
        """Return a presentation of the property in which the row does not fail, or None."""
        for other in contrasts(rows, self._place(rows), self._property):
            if not self._limits.allow(len(other.rows), other.rows.classes):
                continue
            lines = self._measure(other.rows, free=free)
            if lines is None or not (fails(lines, self._required) & self._of(lines, other.place)).any():
                return other
        return None

    def _measure(self, rows: PresentedRows, *, free: bool) -> pd.DataFrame | None:
        """Return the lines of the rows in a table, which takes longer than a call; None if no line fails."""
        if self._narrowing:
            self.narrowed += rows.logits.size + OF_A_CALL
        elif not free:
            self.steps_used += 1 + rows.logits.size / LOGITS_A_STEP + rows.how.times / CALLS_A_STEP
        found = measure(self._candidate, rows)
        return table(found) if any(lines.failing(self._required).size for lines in found) else None

    def _place(self, rows: PresentedRows) -> int:
        return len(rows) - 1 if self._last else 0

    @property
    def _over(self) -> bool:
        return self.narrowed >= self._logits if self._narrowing else self.steps_used >= self._steps

    def _take(self, change: Callable[..., PresentedRows], *arguments: Any) -> bool:
        """Keep the changed rows if their first or last still fails as badly, and return whether it does."""
        if self._over:
            return False
        tried = change(self.rows, *arguments)
        if not self._limits.allow(len(tried), tried.classes):
            return False
        line = self._failure(tried)
        if line is None or badness(line.grade) < self._at_least:
            return False
        self.rows = tried
        return True

    # --- steps ------------------------------------------------------------------------------------------------

    def _plain_factors(self) -> None:
        """Use an ordinary upstream gradient if it fails too, even if less badly than 0 or NaN."""
        before, self._at_least = self._at_least, 0
        for factor in FACTORS:
            weights = np.full(len(self.rows), self.rows.held(np.array(factor)), self.rows.logits.dtype)
            if self._take(partial(replace, weights=weights)):
                line = self._failure(self.rows)
                self._at_least = before if line is None else min(before, badness(line.grade))
                return
        self._at_least = before

    def _narrow(self) -> None:
        """Shrink a wide or tall batch by bisection, which takes few calls; each costs much for so many logits."""
        self._narrowing = True
        end = np.s_[-1:] if self._last else np.s_[:1]
        alone = len(self.rows) == 1 or self._take(some_rows, end)
        for logits in plain_numbers(self.rows):
            if self._take(with_logits, logits):
                break
        self._first_classes()
        if not alone:
            self._fewer_copies()
        self._fewer_classes()
        self._narrowing = False

    def _first_classes(self) -> None:
        """Reduce the number of classes by bisection, with the targets kept: a failure may need some number of them."""
        low = 1
        while low < self.rows.classes and not self._over:
            middle = (low + self.rows.classes) // 2
            targets = self.rows.targets[(self.rows.targets >= middle) & (self.rows.targets < self.rows.classes)]
            kept = np.r_[0:middle, np.unique(targets)]
            if len(kept) >= self.rows.classes or not self._take(some_classes, kept):
                low = middle + 1

    def _fewer_rows(self) -> None:
        end = np.s_[-1:] if self._last else np.s_[:1]
        if len(self.rows) > 1 and self._take(some_rows, end):
            return
        self._fewer_copies()
        size = len(self.rows) // 2
        while size >= 1 and not self._over:
            start = 0 if self._last else 1
            while start < (end_ := len(self.rows) - self._last) and not self._over:
                kept = np.r_[0:start, min(start + size, end_) : len(self.rows)]
                if not self._take(some_rows, kept):
                    start += size
            size //= 2

    def _fewer_copies(self) -> None:
        """Reduce the number of copies by bisection, if all rows are equal: a failure needs some number of rows."""
        if len(distinct(self.rows)[0]) > 1:
            return
        low = 1
        while low < len(self.rows) and not self._over:
            middle = (low + len(self.rows)) // 2
            if not self._take(some_rows, np.s_[:middle]):
                low = middle + 1

    def _fewer_classes(self) -> None:
        size = self.rows.classes // 2
        while size >= 1 and not self._over:
            start = 0
            while start < self.rows.classes and not self._over:
                stays = np.ones(self.rows.classes, bool)
                stays[start : start + size] = False
                targets = self.rows.targets
                stays[targets[(targets >= 0) & (targets < self.rows.classes)]] = True
                if self.rows.shares is not None:
                    stays |= (self.rows.shares != 0).any(axis=0)
                kept = np.flatnonzero(stays)
                if stays.all() or not self._take(some_classes, kept):
                    start += size
            size //= 2

    def _rounder_numbers(self) -> None:
        progress = True
        while progress and not self._over:
            progress = False
            for logits in rounder(self.rows.logits.astype(np.float64)):
                rougher = roughness(logits) >= roughness(self.rows.logits)
                if not rougher and self._take(with_logits, logits):
                    progress = True
                    break
