"""The table of a check: a line for each row, quantity and presentation, with what is hard about the row."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self, get_type_hints

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...cases import WIDE_FROM
from ...core.vocabulary import GRADES, Grade, Quantity, Status, grade_rank
from ...grading import Graded
from ._presentation import Argument, Arrangement, CallKind
from ._rows import PresentedRows

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Objects = NDArray[np.object_]

DIFFERS = "differs"  # in the place of a verdict: two calls gave other bits

NEAR_ZERO = 0.1
LARGE = 80.0  # beyond it exp overflows float32 soon
FAR = 8.0  # a common offset, in spreads of the row


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of one quantity of a batch: the fields are the table's columns.

    An array has a value for each line; anything else holds for all of them. ``place`` is the row's in its batch.
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

    @classmethod
    def of(cls, rows: PresentedRows, quantity: Quantity, *, whole: bool = False) -> Self:
        """Lines without results: what they are of, and what is hard about it; one line of a batch as a whole."""
        x = rows.logits.astype(np.float64)
        finite = np.isfinite(x)
        high = np.where(finite, x, -np.inf).max(axis=1, initial=-np.inf)
        low = np.where(finite, x, np.inf).min(axis=1, initial=np.inf)
        nearest = np.where(finite, np.abs(x), np.inf).min(axis=1, initial=np.inf)
        with np.errstate(invalid="ignore", over="ignore"):
            far = nearest > FAR * np.maximum(high - low, 1.0)
        loss = rows.exact.loss.hi if rows.row_losses is None else rows.row_losses.hi
        factors = np.ones(len(rows)) if rows.weights is None else rows.weights.astype(np.float64)
        lines = cls(
            rows.fmt.name, rows.ids, quantity, str(rows.how), rows.how.call, rows.how.arrangement,
            options=", ".join(rows.options.names),
            row=rows.numbers, classes=np.full(len(rows), rows.classes), target=rows.targets, place=np.arange(len(rows)),
            has_mask=(x == -np.inf).any(axis=1),
            has_nan=np.isnan(x).any(axis=1) | np.isnan(factors),
            has_offset=np.isfinite(nearest) & far,
            has_large=np.isfinite(high) & (np.maximum(np.abs(high), np.abs(low)) > LARGE),
            has_near_zero=(loss > 0) & (loss < NEAR_ZERO),
            has_ties=((x == high[:, None]).sum(axis=1) > 1) & np.isfinite(high),
            has_last=rows.targets == rows.classes - 1,
            has_wide=np.full(len(rows), rows.classes >= WIDE_FROM),
            has_layout=np.full(len(rows), rows.layout != "rows"),
        )  # fmt: skip
        return replace(lines.take(np.array([0])), row=np.array([-1]), target=np.array([-1])) if whole else lines

    def __len__(self) -> int:
        return len(self.row)

    def graded(self, graded: Graded) -> Self:
        """The lines with their grades, verdicts and errors."""
        return replace(
            self, grade=graded.grade, verdict=graded.verdict, finite=graded.finite,
            expected_finite=graded.expected_finite, max_abs=graded.max_abs, max_rel=graded.max_rel,
            max_ulp=graded.max_ulp,
        )  # fmt: skip

    def take(self, index: NDArray[np.intp]) -> Self:
        """Some of the lines."""

        def taken(values: Any) -> Any:
            return values[index] if isinstance(values, np.ndarray) else values

        return type(self)(**{name: taken(values) for name, values in vars(self).items()})


_DTYPES: dict[object, type[np.generic]] = {Mask: np.bool_, Integers: np.int64, Floats | float: np.float64}
COLUMNS = {field.name: _DTYPES.get(get_type_hints(Lines)[field.name], np.object_) for field in fields(Lines)}


def table(found: Sequence[Lines]) -> pd.DataFrame:
    """All lines in one table."""

    def values(lines: Lines, name: str) -> NDArray[np.generic]:
        value = getattr(lines, name)
        value = value.value if isinstance(value, StrEnum) else value  # a table holds plain strings
        return value if isinstance(value, np.ndarray) else np.full(len(lines), value, COLUMNS[name])

    def column(name: str, dtype: type[np.generic]) -> NDArray[np.generic]:
        return np.concatenate([np.empty(0, dtype), *(values(lines, name) for lines in found)]).astype(dtype)

    return pd.DataFrame({name: pd.Series(column(name, dtype), dtype=dtype) for name, dtype in COLUMNS.items()})


class Line(NamedTuple):
    """What code reads of one line of the table."""

    dtype: str
    quantity: str
    case: str
    row: int
    classes: int
    place: int
    how: str
    status: str
    grade: str | None
    verdict: str | None
    value: float
    exact: float
    max_ulp: float
    detail: str | None
    written: str | None


def each_line(lines: pd.DataFrame) -> Iterator[Line]:
    """The lines of a table, one by one."""
    return map(Line._make, zip(*(lines[name].tolist() for name in Line._fields), strict=True))


@dataclass(frozen=True)
class Required:
    """The worst grades that pass."""

    loss: Grade
    gradient: Grade

    def __str__(self) -> str:
        same = self.loss == self.gradient
        return f"grade {self.loss}" if same else f"grade {self.loss} of the loss and {self.gradient} of the gradient"


def fails(lines: pd.DataFrame, required: Required) -> Mask:
    """Which lines fall short of a grade, or have none because the loss raised or gave other bits."""
    allowed = {Quantity.LOSS.value: grade_rank(required.loss), Quantity.GRADIENT.value: grade_rank(required.gradient)}
    worse = lines["grade"].map(grade_rank).astype(float) > lines["quantity"].map(allowed).astype(float)
    raised = ~lines["status"].isin([Status.OK, Status.UNSUPPORTED])
    return (worse | raised | lines["verdict"].eq(DIFFERS)).to_numpy(bool)


def badness(grade: str | None) -> int:
    """How bad a line is: the rank of its grade, and worse than any grade where it has none."""
    rank = grade_rank(grade)
    return rank if rank >= 0 else len(GRADES)
