"""The table of a check: a line for each row, quantity and presentation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....core.vocabulary import Quantity, Status, grade_rank
from ....grading import Standard, grade_by
from ..measuring._lines import WRONG, Required
from ._question import Array, Question


class LinearLine(NamedTuple):
    """One line: a row's loss or gradient, or a gradient of the whole batch, whose ``row`` is -1."""

    dtype: str
    case: str
    row: int
    quantity: str
    how: str
    status: str = Status.OK.value
    grade: str | None = None
    verdict: str | None = None
    value: float = math.nan
    exact: float = math.nan
    max_ulp: float = math.nan
    detail: str = ""
    options: str = ""

    @property
    def named(self) -> str:
        """The row, its dtype and its presentation in words."""
        row = "" if self.row < 0 else f"[{self.row}]"
        return f"{self.case}{row} in {self.dtype}, {self.how}"

    def fails(self, required: Required) -> bool:
        """Return whether it misses the grade, raised, or is wrong."""
        if self.status not in (Status.OK, Status.UNSUPPORTED) or self.verdict == WRONG:
            return True
        return grade_rank(self.grade) > grade_rank(required.of(self.quantity))


def table(lines: Sequence[LinearLine]) -> pd.DataFrame:
    """Return all lines in one table."""
    return pd.DataFrame(lines, columns=LinearLine._fields)


def each_line(lines: pd.DataFrame) -> Iterator[LinearLine]:
    """Yield the lines of a table."""
    columns = (lines[name].tolist() for name in LinearLine._fields)
    return map(LinearLine._make, zip(*columns, strict=True))


def graded_lines(
    question: Question, quantity: Quantity, computed: Array, how: str, *, factor: float = 1.0
) -> list[LinearLine]:
    """Return the lines of a result.

    Args:
        question: the batch.
        quantity: the loss, or a gradient.
        computed: the result, in the framework's dtype.
        how: the presentation.
        factor: a power of two that the exact result is multiplied by.
    """
    standard = question.standard(quantity)
    with np.errstate(over="ignore"):
        values = computed if factor == 1.0 else computed * computed.dtype.type(1 / factor)
    graded = grade_by(standard, values)
    flat = values.reshape(standard.wanted.hi.shape).astype(np.float64)
    whole = quantity.of_batch or (quantity == Quantity.LOSS and question.reduced)
    options = ", ".join(question.options.names)
    lines = []
    for i, row in enumerate([-1] if whole else question.numbers.tolist()):
        entry = _worst_entry(flat[i], standard, i)
        lines.append(
            LinearLine(
                question.fmt.name,
                question.case,
                row,
                quantity.value,
                how,
                Status.OK.value,
                graded.grade[i],
                str(graded.verdict[i]),
                float(flat[i, entry]) * factor,
                float(standard.wanted.hi[i, entry]) * factor,
                float(graded.max_ulp[i]),
                _place(question, quantity, entry),
                options,
            )
        )
    return lines


def ungraded(question: Question, how: str, *, quantity: Quantity = Quantity.LOSS, **more: Any) -> LinearLine:
    """Return one line for the batch, without a grade."""
    options = ", ".join(question.options.names)
    return LinearLine(question.fmt.name, question.case, -1, quantity.value, how, options=options, **more)


def _worst_entry(values: NDArray[np.float64], standard: Standard, row: int) -> int:
    """Return the index of the entry with the largest error, relative to what grade B allows."""
    if len(values) == 1:
        return 0
    wanted = standard.wanted.hi[row]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        error = np.abs(values - wanted) / standard.allowed.b[row]
    same = (values == wanted) | (np.isnan(values) & np.isnan(wanted))
    return int(np.where(same, 0.0, np.nan_to_num(error, nan=np.inf)).argmax())


def _place(question: Question, quantity: Quantity, entry: int) -> str:
    """Return the worst entry of a gradient in words."""
    if quantity == Quantity.GRADIENT_HIDDEN:
        return f"feature {entry}"
    if quantity == Quantity.GRADIENT_WEIGHT:
        return f"class {entry // question.hidden.shape[1]}, feature {entry % question.hidden.shape[1]}"
    return f"class {entry}" if quantity == Quantity.GRADIENT_BIAS else ""
