"""Races: equal calls that are repeated, and a failing batch that is called again before a property is blamed."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.vocabulary import Status
from ..batches._known import rows_differ
from ..batches._presentation import Arrangement, CallKind
from ..batches._rows import PresentedRows
from ._lines import DIFFERS, Lines, Required

Array = NDArray[Any]
Mask = NDArray[np.bool_]

AGAIN = 9  # further calls with a failing batch
LOGITS_AGAIN = 2**22  # logits of these calls together; of a very large batch there is one
ENOUGH = 20  # calls with other bits, after which no more are made
IN_SOME = ", in some of its calls"  # after the presentation of a batch whose equal calls differ


# --- one batch, called many times --------------------------------------------------------------------------------


@dataclass(eq=False)
class Results:
    """The results of equal calls, compared bitwise: how often each came, and the rows that differ from the first."""

    first: Array
    rows: Mask
    counts: Counter[bytes] = field(default_factory=Counter)

    def add(self, values: Array) -> None:
        """Count the result of a call."""
        bits = values.tobytes()
        if bits not in self.counts and self.counts:
            differ = rows_differ(np.atleast_1d(values), np.atleast_1d(self.first))
            # A NaN has many bits, which count as equal.
            bits = bits if differ.any() else self.first.tobytes()
            self.rows |= differ
        self.counts[bits] += 1

    @property
    def calls(self) -> int:
        """The number of calls."""
        return self.counts.total()

    @property
    def others(self) -> int:
        """The number of calls without the most frequent result."""
        return self.calls - max(self.counts.values())


def repeated(call: Callable[[], Mapping[str, Array]], times: int) -> dict[str, Results]:
    """Return the results of each quantity in ``times`` equal calls, or fewer if many differ."""
    found: dict[str, Results] = {}
    for _ in range(times):
        for name, values in call().items():
            if name not in found:
                found[name] = Results(values, np.zeros(len(np.atleast_1d(values)), bool))
            found[name].add(values)
        if any(results.others >= ENOUGH for results in found.values()):
            break
    return found


def wording(others: int, calls: int) -> str:
    """Return the message about equal calls that differ."""
    return f"gave other bits in {others:,} of {calls:,} equal calls: a race, or random numbers"


# --- a failing batch, called again -------------------------------------------------------------------------------


class Recalls:
    """The further calls of failing batches.

    The first failing batch of each dtype, kind of call and arrangement is called again; as soon as equal calls have
    differed, every failing batch is. A failure in two threads is called again only if equal calls differ in one thread.
    """

    def __init__(self, required: Required) -> None:
        self._required = required
        self._seen: set[tuple[str, CallKind, Arrangement]] = set()
        self._raced = False

    def confirmed(self, rows: PresentedRows, found: list[Lines], measure: Callable[[], list[Lines]]) -> list[Lines]:
        """Return the lines of a batch; rows whose results differ in equal calls fail for this reason alone."""
        if not any(lines.failing(self._required).size for lines in found):
            return found
        if rows.how.call is CallKind.THREADS and not self._raced:
            return found  # two threads take turns in another order each time, so other results say nothing
        kind = rows.fmt.name, rows.how.call, rows.how.arrangement
        if kind in self._seen and not self._raced:
            return found
        self._seen.add(kind)
        times = int(np.clip(LOGITS_AGAIN // max(rows.logits.size, 1), 1, AGAIN))
        calls = [found, *(measure() for _ in range(times))]
        lines = _raced(calls)
        self._raced = self._raced or lines is not None
        return found if lines is None else lines


def _raced(calls: Sequence[list[Lines]]) -> list[Lines] | None:
    """Return the lines of the first call with the rows that other calls changed marked; None if there are none."""
    first = calls[0]
    if all(len(found) == len(first) and all(map(operator.is_, found, first)) for found in calls):
        return None  # usual: equal bits have the same lines
    counts = Counter(_digest(found) for found in calls)
    if len(counts) == 1:
        return None
    detail = wording(len(calls) - max(counts.values()), len(calls))
    marked: list[Lines] = []
    for lines in max(calls, key=len):
        others = [_like(lines, found) for found in calls]
        changed = np.logical_or.reduce([np.ones(len(lines), bool) if o is None else _differ(lines, o) for o in others])
        if not changed.all():
            marked.append(lines.take(np.flatnonzero(~changed)))
        if changed.any():
            marked.append(_marked(lines.take(np.flatnonzero(changed)), detail))
    return marked


def _marked(lines: Lines, detail: str) -> Lines:
    how = f"{lines.how}{IN_SOME}"
    verdict = np.full(len(lines), DIFFERS, object)
    return replace(lines, call=CallKind.REPEATED, how=how, verdict=verdict, status=Status.OK, detail=detail)


def _like(lines: Lines, found: list[Lines]) -> Lines | None:
    """Return the lines of another call for the same quantity and rows, with the same status."""
    same = (o for o in found if (o.quantity, o.status, o.written, len(o)) == _kind(lines))
    return next(same, None)


def _kind(lines: Lines) -> tuple[Any, ...]:
    return lines.quantity, lines.status, lines.written, len(lines)


def _digest(found: list[Lines]) -> bytes:
    """Return the results of a call as bytes; messages of exceptions are left out, since they may hold addresses."""
    parts = [(*map(str, _kind(lines)), *(values.tobytes() for values in _results(lines))) for lines in found]
    return repr(parts).encode()


def _differ(one: Lines, other: Lines) -> Mask:
    pairs = zip(_results(one), _results(other), strict=True)
    differ: Mask = np.logical_or.reduce([(a != b) & ~((a != a) & (b != b)) for a, b in pairs])  # noqa: PLR0124 - NaN
    return differ


def _results(lines: Lines) -> list[Array]:
    size = len(lines)
    numbers = [np.broadcast_to(np.asarray(v, float), size) for v in (lines.value, lines.max_abs, lines.max_ulp)]
    words = [np.full(size, "") if v is None else v.astype(str) for v in (lines.grade, lines.verdict)]
    return [*numbers, *words]
