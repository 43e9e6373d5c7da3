"""Which row of a quantity decides its grade, and the name of an entry: its row, class or feature."""

import numpy as np

from ...core.vocabulary import GRADES, SOUND, Problem, Quantity, grade_rank
from ...grading import Graded
from .._cells import REDUCED
from .._measurer import Measurement


def shown_row(m: Measurement, quantity: str, row: int) -> int | None:
    """Return the row of a quantity's grades that an explanation of ``row`` shows; None if it shows none.

    A reduced loss, and a gradient that the batch has once, have one row, 0. The row -1 of a linear case is the whole
    batch: it shows the row with the worst grade, and of several the one with the largest error.
    """
    graded = m.graded[quantity]
    if m.group.is_one_row(quantity):
        return 0
    if row != REDUCED:
        return row
    if m.group.problem is not Problem.LINEAR or not graded.grade.size:
        return None
    return max(range(graded.grade.size), key=lambda r: (rank(graded, r), _error(graded, r)))


def rank(graded: Graded, row: int) -> int:
    """Return the rank of a row's grade. An ungraded row ranks last if its verdict names an error, else first."""
    is_blamed = graded.grade[row] is None and graded.verdict[row] not in SOUND
    return len(GRADES) if is_blamed else grade_rank(graded.grade[row])


def _error(graded: Graded, row: int) -> float:
    return float(np.nan_to_num(graded.max_ulp[row], nan=-1.0, posinf=np.inf))


def entry_name(m: Measurement, quantity: str, row: int, entry: int) -> str:
    """Return the name of an entry of a row of a quantity, such as ``class 3, feature 9``; empty for a reduced loss.

    Args:
        m: the measurement.
        quantity: the quantity.
        row: the row of its grades, as `shown_row` returns it.
        entry: the number of the entry in the row.
    """
    if quantity == Quantity.LOSS:
        return f"row {row}" if m.group.problem is Problem.LINEAR and not m.is_reduced else ""
    if quantity == Quantity.GRADIENT_HIDDEN:
        return f"row {row}, feature {entry}"
    if quantity == Quantity.GRADIENT_WEIGHT:
        features = m.values[quantity].shape[1]
        return f"class {entry // features}, feature {entry % features}"
    return f"class {entry}"
