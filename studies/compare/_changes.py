"""The changes: of the lines that two sides share, and of lines that only one side has."""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.vocabulary import GRADES, Grade, Quantity, Status
from ...storage.manifest import CellKey
from ._lines import ALL_ROWS, BY_SEVERITY, CELL, KEY, OK, Int64, Lines, within

Bools = NDArray[np.bool_]

LEAST_ULP = 1.0  # growth of an error up to this is a rounding, whatever the factor
CASE_KEY = ["dtype", "case"]
WORSE, NEITHER, BETTER = -1, 0, 1
_STOPS = (BY_SEVERITY.index(Status.TIMEOUT), BY_SEVERITY.index(Status.CRASHED))


class Kind(StrEnum):
    """The kinds of changes, the most serious first; a line has the first kind that applies."""

    CELL_GONE = "cell gone"
    CASE_GONE = "case gone"
    STATUS_CHANGED = "status changed"
    NEWLY_NOT_FINITE = "newly not finite"
    GRADE_LOST = "grade lost"
    VERDICT_LOST = "verdict lost"
    ERROR_GROWN = "error grown"
    NEWLY_FINITE = "newly finite"
    GRADE_WON = "grade won"
    VERDICT_WON = "verdict won"
    ERROR_SHRUNK = "error shrunk"
    CASE_CHANGED = "case changed"
    BITS_CHANGED = "bits changed"
    CELL_NEW = "cell new"
    CASE_NEW = "case new"


KINDS = tuple(kind.value for kind in Kind)


class Change(NamedTuple):
    """A line of `Comparison.changes`. ``row`` is None for a change of several rows."""

    change: str
    implementation: str
    dtype: str
    device: str
    mode: str
    quantity: str
    case: str
    row: int | None
    before: str
    after: str
    before_ulp: float
    after_ulp: float
    factor: float
    regression: bool
    improvement: bool
    detail: str

    @classmethod
    def each(cls, changes: pd.DataFrame) -> Iterator[Self]:
        for change in map(cls._make, changes[COLUMNS].itertuples(index=False, name=None)):
            yield change._replace(row=None) if pd.isna(change.row) else change

    @property
    def cell(self) -> CellKey:
        return CellKey(self.implementation, self.dtype, self.device, self.mode)


COLUMNS = list(Change._fields)


def of_lines(both: pd.DataFrame, other: Bools, factor: float) -> pd.DataFrame:
    """Return the changes of lines that both sides have; ``other`` marks the lines of a changed case."""
    kind, direction = _judged(both, other, factor)
    hit = np.flatnonzero(kind >= 0)
    found = both.iloc[hit].reset_index(drop=True)
    before, after = found["ulp"].to_numpy(np.float64), found["ulp new"].to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = after / before
    changes = found[KEY].astype(dict.fromkeys(KEY[:-1], object))
    changes["row"] = changes["row"].astype("Int64").where(changes["row"] != ALL_ROWS)
    return changes.assign(
        change=np.array(KINDS, object)[kind[hit]],
        before=_described(found, ""),
        after=_described(found, " new"),
        before_ulp=before,
        after_ulp=after,
        factor=quotient,
        regression=direction[hit] < 0,
        improvement=direction[hit] > 0,
        detail=found["detail new"].where(found["status new"] != OK).astype(object).fillna(""),
    )[COLUMNS]


class _Side(NamedTuple):
    """The compared columns of one side."""

    status: Int64
    grade: Int64
    wrong: Int64
    ulp: NDArray[np.float64]
    known: Bools
    bits: Int64
    rows: Int64
    unsound: Int64

    @classmethod
    def of(cls, both: pd.DataFrame, suffix: str) -> Self:
        return cls._make(both[column + suffix].to_numpy() for column in cls._fields)


def _judged(both: pd.DataFrame, other: Bools, factor: float) -> tuple[Int64, Int64]:
    """Return for each line the index of its kind, -1 without a change, and the direction."""
    then, now = _Side.of(both, ""), _Side.of(both, " new")
    moved = now.status != then.status
    graded = (now.grade >= 0) & (then.grade >= 0)
    ungraded = (now.unsound >= 0) & (then.unsound >= 0)
    with np.errstate(invalid="ignore", over="ignore"):
        grown, shrunk = _grown(then.ulp, now.ulp, factor), _grown(now.ulp, then.ulp, factor)
    bits = now.known & then.known & (now.bits != then.bits)
    # With other grading rules, or another number of rows, it is not the same case.
    unlike = other | (now.rows != then.rows) | (~moved & ((now.grade >= 0) != (then.grade >= 0)))
    rules: list[tuple[Kind, int, Bools]] = [
        (Kind.CASE_CHANGED, NEITHER, unlike),
        (Kind.STATUS_CHANGED, WORSE, moved & _stopped(then, now)),
        (Kind.STATUS_CHANGED, BETTER, moved & _stopped(now, then)),
        (Kind.STATUS_CHANGED, NEITHER, moved),
        (Kind.NEWLY_NOT_FINITE, WORSE, graded & (now.wrong > then.wrong)),
        (Kind.NEWLY_FINITE, BETTER, graded & (now.wrong < then.wrong)),
        (Kind.GRADE_LOST, WORSE, graded & (now.grade > then.grade)),
        (Kind.GRADE_WON, BETTER, graded & (now.grade < then.grade)),
        (Kind.VERDICT_LOST, WORSE, ungraded & (now.unsound > then.unsound)),
        (Kind.VERDICT_WON, BETTER, ungraded & (now.unsound < then.unsound)),
        (Kind.ERROR_GROWN, WORSE, graded & grown),
        (Kind.ERROR_SHRUNK, BETTER, graded & shrunk),
        (Kind.BITS_CHANGED, NEITHER, bits),
    ]
    kinds, directions, masks = zip(*rules, strict=True)
    return np.select(masks, [KINDS.index(kind) for kind in kinds], -1), np.select(masks, directions, 0)


def _stopped(then: _Side, now: _Side) -> Bools:
    """Return whether a line was ok and no longer is.

    To raise for a row without an exact answer does not count; to hang or crash does.
    """
    mattered = (then.grade >= 0) | (then.unsound == 0) | np.isin(now.status, _STOPS)
    stopped: Bools = (then.status == OK) & (now.status != OK) & mattered
    return stopped


def _grown(then: NDArray[np.float64], now: NDArray[np.float64], factor: float) -> Bools:
    # Infinity minus infinity and comparisons with NaN give False.
    return (now > factor * then) & (now - then > LEAST_ULP)


class _State(NamedTuple):
    status: int
    grade: int
    ulp: float
    verdict: str | None
    wrong: int
    rows: int
    unsound: int

    @property
    def wording(self) -> str:
        """The status, or the grade with the error or the verdict."""
        if self.status != OK:
            return BY_SEVERITY[self.status].value
        if self.grade < 0 and self.unsound >= 0 and isinstance(self.verdict, str):
            return f"ungraded, {self.verdict}"
        # A line for all rows of a case includes the ignored rows.
        return ("ungraded" if self.grade < 0 else self._graded) + ", an ignored row not 0" * (self.unsound > 0)

    @property
    def _graded(self) -> str:
        if GRADES[self.grade] != Grade.F:
            return f"{GRADES[self.grade]} {self.ulp:.3g} ulp"
        if isinstance(self.verdict, str):
            return f"F {self.verdict}"
        return f"F {self.wrong} of {self.rows} not finite" if self.wrong else "F"


def _described(found: pd.DataFrame, suffix: str) -> list[str]:
    columns = (found[column + suffix] for column in _State._fields)
    return [_State._make(values).wording for values in zip(*columns, strict=True)]


def of_one_side(
    lines: pd.DataFrame, here: Lines, there: Lines, of_cell: Kind, of_case: Kind, *, regression: bool
) -> list[pd.DataFrame]:
    """Return the changes for lines of one side: cells, quantities of a cell, unselected cases, and cases of a cell."""
    if lines.empty:
        return []
    quantity = [*CELL, "quantity"]
    no_cell = ~within(lines, there.measured, CELL)
    no_quantity = ~within(lines, there.measured, quantity) & ~no_cell
    unasked = ~within(lines, there.measured, CASE_KEY) | within(lines, _reshaped(here, there), CASE_KEY)
    no_case = ~(no_cell | no_quantity)
    return [
        *_summed_up(lines[no_cell], CELL, of_cell, regression=regression),
        *_summed_up(lines[no_quantity], quantity, of_cell, regression=regression),
        *_summed_up(lines[no_case & unasked], CASE_KEY, of_case, regression=False),
        *_summed_up(lines[no_case & ~unasked], [*quantity, "case"], of_case, regression=regression),
    ]


def _reshaped(here: Lines, there: Lines) -> pd.DataFrame:
    """Return the cases whose rows differ: more or fewer rows, or a reduction on one side only."""
    key = [*CASE_KEY, "row"]
    ours, theirs = (side.measured.loc[side.measured["quantity"] == Quantity.LOSS, key] for side in (here, there))
    odd = [ours[~within(ours, theirs, key)], theirs[~within(theirs, ours, key)]]
    return pd.concat([part.astype(dict.fromkeys(CASE_KEY, object)) for part in odd])


def _summed_up(part: pd.DataFrame, by: list[str], kind: Kind, *, regression: bool) -> Iterator[pd.DataFrame]:
    """Yield one change for all lines of a cell, or of a case, that only one side has."""
    if part.empty:
        return
    side = "before" if kind in (Kind.CELL_GONE, Kind.CASE_GONE) else "after"
    counted = part.groupby(by, observed=True).size().reset_index(name=side)
    counted[side] = [f"{count} line{'s' * (count != 1)}" for count in counted[side]]
    absent = {c: "" for c in (*KEY[:-1], "before", "after", "detail") if c not in counted}
    numbers = dict.fromkeys(("before_ulp", "after_ulp", "factor"), np.nan)
    whole = counted.astype(dict.fromkeys(by, object)).assign(
        change=kind.value, row=None, regression=regression, improvement=False, **absent, **numbers
    )
    yield whole.astype({"row": "Int64", "regression": bool})[COLUMNS]
