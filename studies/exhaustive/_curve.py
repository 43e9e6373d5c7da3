"""The error along the gap, thinned to the worst error in each column of a picture."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import GRADES
from ._measuring import Measured
from ._rows import Rows

Float64 = NDArray[np.float64]

COLUMNS = ("implementation", "dtype", "quantity", "gap", "place", "column", "grade", "ulp")
SIDE = 80  # columns of a picture for each sign of the gap
# The powers of two that end a picture's axis of gaps. A smaller gap changes no result by more than a rounding, so that
# the axis leaves out most of the exponents of bfloat16. All larger and smaller gaps are in the last column.
LARGEST, BELOW_ROUNDOFF = 17, 4


def axis_ends(fmt: Format) -> tuple[int, int]:
    """Return the powers of two at which the axis of a gap's magnitude starts and ends."""
    return max(fmt.emin, -fmt.precision - BELOW_ROUNDOFF), min(fmt.emax + 2, LARGEST)


def places(gap: Float64, fmt: Format) -> Float64:
    """Return the places of gaps on an axis from -1 to 1: logarithmic to both sides of 0, with all gaps on it."""
    low, high = axis_ends(fmt)
    size = np.abs(gap)
    exponent = np.log2(np.where(size > 0, size, 1.0))
    # One more column than the powers of two need keeps the smallest gaps apart from 0.
    along = (np.clip(exponent, low, high) - low + 1.0) / (high - low + 1.0)
    return np.where(size > 0, np.sign(gap) * along, 0.0)


def curve(measured: Measured, rows: Rows) -> pd.DataFrame:
    """Return the row with the largest error of each grade in each column; a grade's infinite errors count as largest.

    The columns of the table are `COLUMNS`. ``place`` is from `places`. ``column`` is an integer from -`SIDE` to `SIDE`.
    """
    values = measured.values
    if values is None:
        return pd.DataFrame(columns=list(COLUMNS))
    gap, ulp, rank = rows.gap[values.index], values.graded.max_ulp, values.rank
    place = places(gap, rows.fmt)
    column = np.rint(place * SIDE).astype(np.int64)
    key = column * len(GRADES) + rank
    order = np.lexsort((np.abs(gap), -ulp, key))
    first = np.flatnonzero(np.diff(key[order], prepend=key.min() - 1))
    kept = order[first]
    grades = np.array(GRADES, object)[rank[kept]]
    cell = measured.cell
    found = {"gap": gap[kept], "place": place[kept], "column": column[kept], "grade": grades, "ulp": ulp[kept]}
    return pd.DataFrame(found).assign(
        implementation=cell.implementation.name, dtype=cell.dtype, quantity=measured.quantity
    )[list(COLUMNS)]


def joined(curves: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the curves in one table."""
    present = [c for c in curves if not c.empty]
    return pd.concat(present, ignore_index=True) if present else pd.DataFrame(columns=list(COLUMNS))
