"""The table of a check: a line for each row, quantity and presentation, with the features of the row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self, get_type_hints

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....cases import WIDE_FROM
from ....core.vocabulary import GRADES, Grade, Quantity, Status, grade_rank
from ....grading import Graded
from ..batches._presentation import CATALOGUED, Argument, Arrangement, CallKind
from ..batches._rows import PresentedRows

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Objects = NDArray[np.object_]

# Used as verdicts of lines without a grade:
DIFFERS = "differs"  # two equal calls returned different bits
WRONG = "wrong"  # beyond a tolerance
REFUSED = "refused"  # the loss raised where it may
FAILING = (DIFFERS, WRONG)


@dataclass(frozen=True)
class Required:
    """The worst grades that pass."""

    loss: Grade
    gradient: Grade

    def of(self, quantity: str) -> Grade:
        """Return the worst grade that passes for a quantity."""
        return self.loss if quantity == Quantity.LOSS else self.gradient

    def __str__(self) -> str:
        same = self.loss == self.gradient
        return f"grade {self.loss}" if same else f"grade {self.loss} of the loss and {self.gradient} of the gradient"


ANY = Required(Grade.D, Grade.D)  # passes every finite result


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of one quantity of a batch; the fields are the columns of the table.

    An array has a value for each line; any other value holds for all lines. ``place`` is the row's index in its batch.
    ``batch`` names the batch of a loss that returns one number for it.
    """

    dtype: str
    case: Objects
    quantity: Quantity
    how: str
    call: CallKind
    arrangement: Arrangement
    options: str
    row: Integers
    classes: Integers
    target: Integers
    place: Integers
    has_mask: Mask
    has_nan: Mask
    has_offset: Mask
    has_large: Mask
    has_near_zero: Mask
    has_ties: Mask
    has_last: Mask
    has_wide: Mask
    has_layout: Mask
    has_soft: Mask
    has_ignored: Mask
    status: Status = Status.OK
    grade: Objects | None = None
    verdict: Objects | None = None
    value: Floats | float = math.nan
    exact: Floats | float = math.nan
    max_abs: Floats | float = math.nan
    max_rel: Floats | float = math.nan
    max_ulp: Floats | float = math.nan
    finite: Mask | None = None
    expected_finite: Mask | None = None
    out_dtype: str | None = None
    detail: str | None = None
    written: Argument | None = None
    batch: str | None = None

    @classmethod
    def of(cls, rows: PresentedRows, quantity: Quantity, *, whole: bool = False) -> Self:
        """Return lines without results for the rows and their features, or one line for a whole batch."""
        hard = rows.features._asdict()
        factors = np.ones(len(rows)) if rows.weights is None else rows.weights.astype(np.float64)
        lines = cls(
            rows.dtype, rows.ids, quantity, str(rows.how), rows.how.call, rows.how.arrangement,
            options=", ".join(rows.options.names),
            row=rows.numbers, classes=np.full(len(rows), rows.classes), target=rows.targets, place=np.arange(len(rows)),
            **(hard | {"has_nan": hard["has_nan"] | np.isnan(factors)}),
            has_last=rows.targets == rows.classes - 1,
            has_wide=np.full(len(rows), rows.classes >= WIDE_FROM),
            has_layout=np.full(len(rows), rows.layout != "rows"), batch=rows.batch,
            has_soft=np.full(len(rows), rows.shares is not None),
            has_ignored=np.full(len(rows), rows.ignores_undefined),
        )  # fmt: skip
        if whole and rows.batch is not None:
            return lines._of_whole_batch()
        return replace(lines.take(np.array([0])), row=np.array([-1]), target=np.array([-1])) if whole else lines

    def _of_whole_batch(self) -> Self:
        """Return one line for the batch, with the features that all its rows have, named after its rows."""
        first = self.take(np.array([0]))
        common: dict[str, Any] = {name: np.atleast_1d(getattr(self, name).all()) for name in _FEATURES}
        first = replace(first, **common)
        if (self.case == self.case[0]).all() and (self.row == self.row[0]).all():
            return first
        name = self.case[0] if (self.case == self.case[0]).all() else f"rows of {self.classes[0]:,} classes"
        return replace(first, case=np.array([name], object), row=np.array([-1]), target=np.array([-1]))

    def __len__(self) -> int:
        return len(self.row)

    def graded(self, graded: Graded, **columns: Any) -> Self:
        """Return the lines with grades, verdicts and errors, and with other columns."""
        return replace(
            self, grade=graded.grade, verdict=graded.verdict, finite=graded.finite,
            expected_finite=graded.expected_finite, max_abs=graded.max_abs, max_rel=graded.max_rel,
            max_ulp=graded.max_ulp, **columns,
        )  # fmt: skip

    def failing(self, required: Required) -> Integers:
        """Return the indices of the lines that fail, as in `fails`, worst first."""
        if self.status not in (Status.OK, Status.UNSUPPORTED):
            return np.arange(len(self))
        rank = np.full(len(self), -1) if self.grade is None else grade_ranks(self.grade)
        failing = (rank > grade_rank(required.of(self.quantity))) | self._fail_by_verdict
        if not failing.any():  # usual
            return np.empty(0, np.int64)
        order = np.argsort(-rank, kind="stable")
        return order[failing[order]]

    @property
    def _fail_by_verdict(self) -> Mask:
        if self.verdict is None:
            return np.zeros(len(self), bool)
        failing: Mask = np.logical_or.reduce([self.verdict == verdict for verdict in FAILING])
        return failing

    def worst_of_copies(self, copied: Integers) -> Self:
        """Return the worst line of each row's copies; ``copied`` (B,) is the row that each line's row is a copy of."""
        rank = self._fail_by_verdict.astype(int) if self.grade is None else grade_ranks(self.grade)
        return self.take(worst_copies(rank, copied))

    def take(self, index: NDArray[np.intp]) -> Self:
        """Return the lines at these indices."""

        def taken(values: Any) -> Any:
            return values[index] if isinstance(values, np.ndarray) else values

        return type(self)(**{name: taken(values) for name, values in vars(self).items()})


_FEATURES = tuple(field.name for field in fields(Lines) if field.name.startswith("has_"))
_DTYPES: dict[object, type[np.generic]] = {Mask: np.bool_, Integers: np.int64, Floats | float: np.float64}
_RANKS = {grade: rank for rank, grade in enumerate(GRADES)}
COLUMNS = {field.name: _DTYPES.get(get_type_hints(Lines)[field.name], np.object_) for field in fields(Lines)}


def table(found: Sequence[Lines]) -> pd.DataFrame:
    """Return all lines in one table."""
    sizes = [len(lines) for lines in found]

    def column(name: str, dtype: type[np.generic]) -> NDArray[np.generic]:
        values = [getattr(lines, name) for lines in found]
        if any(isinstance(value, np.ndarray) for value in values):
            pairs = zip(values, sizes, strict=True)
            parts = [v if isinstance(v, np.ndarray) else np.full(n, v, dtype) for v, n in pairs]
            return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)
        each = np.empty(len(values), dtype)
        each[:] = [v.value if isinstance(v, StrEnum) else v for v in values]  # a table holds plain strings
        return np.repeat(each, sizes)

    index = pd.RangeIndex(sum(sizes))

    def given(values: NDArray[np.generic]) -> NDArray[np.generic] | pd.Series[Any]:
        # A frame turns an array of objects into strings, but no series. A series takes longer than an array.
        objects = values.dtype == np.object_
        return pd.Series(values, index=index, dtype=object, copy=False) if objects else values

    return pd.DataFrame({name: given(column(name, dtype)) for name, dtype in COLUMNS.items()}, index=index)


class Line(NamedTuple):
    """The columns of one line that code reads."""

    dtype: str
    quantity: str
    case: str
    row: int
    classes: int
    place: int
    how: str
    call: str
    status: str
    grade: str | None
    verdict: str | None
    value: float
    exact: float
    max_ulp: float
    detail: str | None
    written: str | None
    batch: str | None
    out_dtype: str | None

    @property
    def named(self) -> str:
        """The row, its dtype and its presentation in words: ``masks/first[0] in float32, in two halves``."""
        row = "" if self.row < 0 else f"[{self.row}]"
        how = "" if self.how == str(CATALOGUED) else f", {self.how}"
        return f"{self.case}{row} in {self.dtype}{how}"


def each_line(lines: pd.DataFrame) -> Iterator[Line]:
    """Yield the lines of a table."""
    return map(Line._make, zip(*(lines[name].tolist() for name in Line._fields), strict=True))


def fails(lines: pd.DataFrame, required: Required) -> Mask:
    """Return which lines miss the grade, raised, or returned different bits."""
    of_loss = lines["quantity"].eq(Quantity.LOSS).to_numpy(bool)
    worse = grade_ranks(lines["grade"].to_numpy(object)) > np.where(
        of_loss, grade_rank(required.loss), grade_rank(required.gradient)
    )
    raised = ~lines["status"].isin([Status.OK, Status.UNSUPPORTED])
    return worse | (raised | lines["verdict"].isin(FAILING)).to_numpy(bool)


def grade_ranks(grades: Objects) -> Integers:
    """Return the `grade_rank` of each grade."""
    return np.array([_RANKS.get(grade, -1) for grade in grades.tolist()], np.int64)


def worst_copies(ranks: Integers, copied: Integers) -> Integers:
    """Return the index of the copy with the highest rank, for each row that is copied."""
    order = np.lexsort((-ranks, copied))
    worst: Integers = order[np.unique(copied[order], return_index=True)[1]]
    return worst


def badness(grade: str | None) -> int:
    """Return the rank of a grade, or a number above all ranks without a grade."""
    rank = grade_rank(grade)
    return rank if rank >= 0 else len(GRADES)


def badnesses(lines: pd.DataFrame) -> pd.Series[float]:
    """Return the `badness` of each line; a wrong result without a grade counts as grade D."""
    found = lines["grade"].map(badness).astype(float)
    return found.where(lines["verdict"].ne(WRONG), float(grade_rank(Grade.D)))
