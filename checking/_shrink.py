"""The smallest input that still fails: one row if it can be, few classes, round numbers.

Delta debugging: a part is taken away, or a number made rounder, wherever the loss then still fails as badly. It ends
where no single step is left, or the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cases import Case, make
from ..formats import quantize
from ..grading import GRADES
from ..oracle import reference
from ..shrinking import roughness, rounder
from ._loss import Candidate
from ._measure import fails, measure
from ._rows import Rows
from ._script import script

Array = NDArray[Any]

SECONDS = 6.0  # for all of the rows that are tried


@dataclass(frozen=True, eq=False)
class Smallest:
    """An input that fails, as small as it was found, and a program that shows it.

    Attributes:
        logits, targets: (B, C) in the dtype, and (B,); the first row fails, or the last, others only keep it company.
        dtype, quantity, how: in what, which, and presented how.
        grade, detail: what the row got, or what was raised.
        loss: (B,), the exact row losses.
        script: Python source of its own.
    """

    logits: Array
    targets: Array
    dtype: str
    quantity: str
    how: str
    grade: str | None
    detail: str
    loss: NDArray[np.float64]
    script: str


def smallest(candidate: Candidate, failing: Sequence[tuple[Rows, str]], required: str) -> Smallest | None:
    """The smallest of the inputs that the failing rows shrink to; each comes first in its batch, or last."""
    deadline = time.monotonic() + SECONDS
    shrunk = [_Shrinking(candidate, rows, quantity, required, deadline).smallest() for rows, quantity in failing]
    found = [s for s in shrunk if s is not None]
    return min(found, key=lambda s: (s.logits.size, roughness(s.logits)), default=None)


class _Shrinking:
    """One failing row, the first or the last, on its way down; ``rows`` fails at any time."""

    def __init__(self, candidate: Candidate, rows: Rows, quantity: str, required: str, deadline: float) -> None:
        self._candidate, self._quantity, self._required = candidate, quantity, required
        self._deadline = deadline
        self._at_least = 0
        self._last = False
        self.rows = rows

    def smallest(self) -> Smallest | None:
        if time.monotonic() > self._deadline:
            return None
        line = self._failure(self.rows)
        if line is None:
            self._last = True
            line = self._failure(self.rows)
        if line is None:
            return None  # it does not fail in this order of the batch, or not always
        self._at_least = _rank(line)
        self._fewer_rows()
        self._fewer_classes()
        self._rounder_numbers()
        self._fewer_classes()
        return self._told()

    def _told(self) -> Smallest:
        rows, line = self.rows, self._failure(self.rows) or {}
        detail = line.get("detail")
        return Smallest(
            rows.logits, rows.targets, rows.fmt.name, self._quantity, rows.how, line.get("grade"),
            detail if isinstance(detail, str) else "", rows.exact.loss.hi,
            script(self._candidate, rows, self._quantity),
        )  # fmt: skip

    def _failure(self, rows: Rows) -> dict[str, Any] | None:
        """The line of the first row's failure, None if it does not fail."""
        lines = measure(self._candidate, rows)
        mine = (lines["quantity"] == self._quantity) & (lines["place"] == (len(rows) - 1 if self._last else 0))
        mine |= lines["status"] == "raised"
        bad = lines[mine.to_numpy() & fails(lines, self._required)]
        return None if bad.empty else {str(name): value for name, value in bad.iloc[0].items()}

    def _take(self, rows: Rows) -> bool:
        """Goes on with the rows if their first still fails as badly."""
        if time.monotonic() > self._deadline:
            return False
        line = self._failure(rows)
        if line is None or _rank(line) < self._at_least:
            return False
        self.rows = rows
        return True

    def _fewer_rows(self) -> None:
        if len(self.rows) > 1 and self._take(self.rows.take(np.s_[-1:] if self._last else np.s_[:1])):
            return
        size = len(self.rows) // 2
        while size >= 1 and time.monotonic() <= self._deadline:
            start = 0 if self._last else 1
            while start < (end := len(self.rows) - self._last):
                kept = np.r_[0:start, min(start + size, end) : len(self.rows)]
                if not self._take(self.rows.take(kept)):
                    start += size
                if time.monotonic() > self._deadline:
                    return
            size //= 2

    def _fewer_classes(self) -> None:
        size = self.rows.classes // 2
        while size >= 1:
            start = 0
            while start < self.rows.classes:
                stays = np.ones(self.rows.classes, bool)
                stays[start : start + size] = False
                stays[self.rows.targets] = True
                if stays.all() or not self._take(_classes(self.rows, np.flatnonzero(stays))):
                    start += size
                if time.monotonic() > self._deadline:
                    return
            size //= 2

    def _rounder_numbers(self) -> None:
        progress = True
        while progress and time.monotonic() <= self._deadline:
            progress = False
            for logits in rounder(self.rows.logits.astype(np.float64)):
                if roughness(logits) < roughness(self.rows.logits) and self._take(_numbers(self.rows, logits)):
                    progress = True
                    break


def _rank(line: dict[str, Any]) -> int:
    """How bad a failure is; one without a grade is as bad as any."""
    return GRADES.index(line["grade"]) if line.get("grade") in GRADES else len(GRADES)


def _classes(rows: Rows, kept: NDArray[np.intp]) -> Rows:
    return _made(rows, rows.logits[:, kept].astype(np.float64), np.searchsorted(kept, rows.targets))


def _numbers(rows: Rows, logits: NDArray[np.float64]) -> Rows:
    return _made(rows, logits, rows.targets)


def _made(rows: Rows, logits: NDArray[np.float64], targets: Array) -> Rows:
    held = quantize(logits, rows.fmt)
    case: Case = make("check/shrunk", "A failing input made smaller.", held.astype(np.float64), targets)
    exact = reference(held, case.targets, keep=False)
    return replace(rows, cases=(case,) * len(held), logits=held, targets=case.targets, exact=exact)
