"""The search for the smallest input that breaks the same property: few rows, few classes, round numbers.

This is delta debugging: a part is removed, or a number rounded, if the loss then still fails as badly and in the same
way. The search ends when no single step succeeds, or after a fixed number of steps. It never depends on the clock.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.formats import quantize
from ...core.vocabulary import Quantity, Status
from ...oracle import Reference, per_row, reference
from .._shrinking import roughness, rounder
from ._contrast import Contrast, contrasts, on_their_own
from ._lines import Line, Mask, Required, badness, each_line, fails, table
from ._loss import Candidate
from ._measure import measure
from ._presentation import Argument, CallKind
from ._properties import OFFSET, PROPERTIES
from ._rows import PresentedRows
from ._script import script

Array = NDArray[Any]

STEPS = 600.0  # for all failing rows together
OF_ONE = 0.4  # the largest share of the steps for one row
LOGITS_A_STEP = 2000  # each further 2000 logits of a call count as another step
_NUMBER = r"\d+"  # numbers in a message change with the size of the input
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


def find_smallest(candidate: Candidate, failing: Sequence[Failing], required: Required) -> Smallest | None:
    """Return the smallest input that the failing rows shrink to, preferably without NaN; None if none fails again."""
    steps, found = STEPS, []
    for each in failing:
        shrinker = _Shrinker(candidate, each, required, min(steps, OF_ONE * STEPS))
        shrunk = shrinker.smallest()
        steps -= shrinker.steps_used
        found += [] if shrunk is None else [shrunk]
        if steps <= 0 or (shrunk is not None and shrunk.logits.size <= SMALL):
            break
    return min(found, key=lambda s: (np.isnan(s.logits).any(), s.logits.size, roughness(s.logits)), default=None)


class _Shrinker:
    """The shrinking of one failing row, the first or the last; ``rows`` is the smallest failing input so far."""

    def __init__(self, candidate: Candidate, failing: Failing, required: Required, steps: float) -> None:
        self._candidate, self._required = candidate, required
        self._quantity, self._property = failing.quantity, failing.property
        self._steps = steps
        self._like: Line | None = None
        self._at_least = 0
        self._last = failing.place > 0
        self.steps_used = 0.0
        self.rows = on_their_own(failing.rows)

    def smallest(self) -> Smallest | None:
        line = self._failure(self.rows)
        if line is None:
            return None  # it does not fail in this order of the batch, or only sometimes
        self._like, self._at_least = line, badness(line.grade)
        if self.rows.how.call is CallKind.WEIGHTED:
            self._plain_factors()
        self._fewer_rows()
        self._fewer_classes()
        self._rounder_numbers()
        self._fewer_classes()
        return self._shown()

    def _shown(self) -> Smallest:
        rows, line = self.rows, self._failure(self.rows, free=True)
        written = Argument(line.written) if line is not None and line.written is not None else None
        other = self._contrast(rows, free=True)
        return Smallest(
            rows.logits, rows.targets, rows.fmt.name, self._quantity.value, str(rows.how), self._property,
            grade=None if line is None else line.grade, detail="" if line is None else line.detail or "",
            loss=rows.exact.loss.hi,
            script=script(self._candidate, rows, self._quantity, other, self._property, written),
        )  # fmt: skip

    # --- whether rows fail ------------------------------------------------------------------------------------

    def _failure(self, rows: PresentedRows, *, free: bool = False) -> Line | None:
        """Return the line of the row's failure, or None if it does not fail or breaks another property."""
        lines = self._measure(rows, free=free)
        failed = fails(lines, self._required)
        place = self._place(rows)
        bad = np.flatnonzero(failed & self._of(lines, place))
        if not bad.size:
            return None
        line = next(each_line(lines.iloc[bad[:1]]))
        if self._property is not None and not PROPERTIES[self._property].breaks(lines, failed)[bad[0]]:
            return line if self._contrast(rows, free=free) is not None else None
        if next(contrasts(rows, place, self._property), None) is None:
            return line
        return line if self._property == OFFSET or self._contrast(rows, free=free) is not None else None

    def _of(self, lines: pd.DataFrame, place: int) -> Mask:
        """Return which lines belong to the failing row and have the same kind of error as the first failure."""
        mine = (lines["quantity"] == self._quantity) & (lines["place"] == np.where(lines["row"] < 0, 0, place))
        raised = lines["status"] != Status.OK
        if self._like is None:
            return (mine | raised).to_numpy(bool)
        if self._like.status == Status.OK:
            return (mine & ~raised).to_numpy(bool)
        like = lines["detail"].fillna("").str.replace(_NUMBER, "#", regex=True)
        return (raised & (like == re.sub(_NUMBER, "#", self._like.detail or ""))).to_numpy(bool)

    def _contrast(self, rows: PresentedRows, *, free: bool = False) -> Contrast | None:
        """Return a presentation of the property in which the row does not fail, or None."""
        for other in contrasts(rows, self._place(rows), self._property):
            lines = self._measure(other.rows, free=free)
            failed = fails(lines, self._required)
            if not (failed & self._of(lines, other.place)).any():
                return other
        return None

    def _measure(self, rows: PresentedRows, *, free: bool) -> pd.DataFrame:
        if not free:
            self.steps_used += 1 + rows.logits.size / LOGITS_A_STEP
        return table(measure(self._candidate, rows))

    def _place(self, rows: PresentedRows) -> int:
        return len(rows) - 1 if self._last else 0

    @property
    def _over(self) -> bool:
        return self.steps_used >= self._steps

    def _take(self, rows: Callable[[], PresentedRows]) -> bool:
        """Keep the rows if their first or last still fails as badly, and return whether it does."""
        if self._over:
            return False
        tried = rows()
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
            weights = np.full(len(self.rows), quantize(np.array(factor), self.rows.fmt), self.rows.logits.dtype)
            if self._take(lambda weights=weights: replace(self.rows, weights=weights)):  # type: ignore[misc]
                line = self._failure(self.rows)
                self._at_least = before if line is None else min(before, badness(line.grade))
                return
        self._at_least = before

    def _fewer_rows(self) -> None:
        end = np.s_[-1:] if self._last else np.s_[:1]
        if len(self.rows) > 1 and self._take(lambda: _some(self.rows, end)):
            return
        self._fewer_copies()
        size = len(self.rows) // 2
        while size >= 1 and not self._over:
            start = 0 if self._last else 1
            while start < (end_ := len(self.rows) - self._last) and not self._over:
                kept = np.r_[0:start, min(start + size, end_) : len(self.rows)]
                if not self._take(lambda kept=kept: _some(self.rows, kept)):  # type: ignore[misc]
                    start += size
            size //= 2

    def _fewer_copies(self) -> None:
        """Reduce the number of copies by bisection, if all rows are equal: a failure needs some number of rows."""
        if len(_distinct(self.rows)[0]) > 1:
            return
        low = 1
        while low < len(self.rows) and not self._over:
            middle = (low + len(self.rows)) // 2
            if not self._take(lambda middle=middle: _some(self.rows, np.s_[:middle])):  # type: ignore[misc]
                low = middle + 1

    def _fewer_classes(self) -> None:
        size = self.rows.classes // 2
        while size >= 1:
            start = 0
            while start < self.rows.classes and not self._over:
                stays = np.ones(self.rows.classes, bool)
                stays[start : start + size] = False
                targets = self.rows.targets
                stays[targets[(targets >= 0) & (targets < self.rows.classes)]] = True
                kept = np.flatnonzero(stays)
                if stays.all() or not self._take(lambda kept=kept: _classes(self.rows, kept)):  # type: ignore[misc]
                    start += size
            size //= 2

    def _rounder_numbers(self) -> None:
        progress = True
        while progress and not self._over:
            progress = False
            for logits in rounder(self.rows.logits.astype(np.float64)):
                rougher = roughness(logits) >= roughness(self.rows.logits)
                if not rougher and self._take(lambda logits=logits: _with_logits(self.rows, logits)):  # type: ignore[misc]
                    progress = True
                    break


# --- smaller rows -----------------------------------------------------------------------------------------------


def _some(rows: PresentedRows, index: Any) -> PresentedRows:
    fewer = rows.take(index)
    return fewer if not rows.options.reduced else _with_logits(fewer, fewer.logits.astype(np.float64))


def _classes(rows: PresentedRows, kept: NDArray[np.intp]) -> PresentedRows:
    values = dict(rows.options.values)
    if "weight" in values:
        values["weight"] = values["weight"][kept]
    place = np.full(rows.classes, -1)
    place[kept] = np.arange(len(kept))
    inside = (rows.targets >= 0) & (rows.targets < rows.classes)
    targets = np.where(inside, place[np.where(inside, rows.targets, 0)], rows.targets)
    ignored = values.get("ignore_index")
    if ignored is not None and 0 <= ignored < rows.classes:
        # An ignored index that is a target is kept as a class; any other becomes -100.
        values["ignore_index"] = int(place[ignored]) if place[ignored] >= 0 else -100
    fewer = replace(rows, targets=targets.astype(np.int64), options=replace(rows.options, values=values))
    return _with_logits(fewer, rows.logits[:, kept].astype(np.float64))


def _with_logits(rows: PresentedRows, logits: NDArray[np.float64]) -> PresentedRows:
    """Return the rows with other logits and their exact answer."""
    other = replace(rows, logits=quantize(logits, rows.fmt))
    if not other.options.reduced:
        return replace(other, exact=_exact(other))
    each = replace(other, options=replace(other.options, reduction="none"))
    whole = reference(
        other.logits, other.targets, reduction=other.options.reduction, keep=False, **other.options.values
    )
    return replace(other, exact=whole, row_losses=_exact(each).loss)


def _exact(rows: PresentedRows) -> Reference:
    """Return the exact answer, computed once for equal rows."""
    first, copies = _distinct(rows)
    few = reference(rows.logits[first], rows.targets[first], keep=False, **rows.options.values)
    return per_row(lambda values: values[copies], few)


def _distinct(rows: PresentedRows) -> tuple[list[int], NDArray[np.intp]]:
    """Return the indices of the distinct rows, and for each row the index among them."""
    kinds: dict[bytes, int] = {}
    first: list[int] = []
    number = np.empty(len(rows), np.intp)
    for i in range(len(rows)):
        number[i] = kinds.setdefault(rows.logits[i].tobytes() + rows.targets[i].tobytes(), len(first))
        if number[i] == len(first):
            first.append(i)
    return first, number
