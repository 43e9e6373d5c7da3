"""Two devices side by side on each case: the same implementation and dtype, graded on both."""

from itertools import combinations

import pandas as pd

from ...core.interpreting import INTERPRETED
from ...storage.querying import Measurements
from ._agreement import comparable

APART_AND_ERRORS = ("apart", "error of one", "error of other")
COLUMNS = (
    "one", "other", "implementation", "dtype", "mode", "case", "grade of one", "grade of other", "rows", "different",
    *APART_AND_ERRORS,
)  # fmt: skip

_SIDE_BY_SIDE = """
    WITH done AS (
        SELECT implementation, dtype, device, mode, "case", row, quantity, out_dtype, bits, grade, value, exact,
            max_ulp, place
        FROM measurements WHERE status = 'ok'
    ), compared AS (
        SELECT pairs.number, one, other, a.implementation, a.dtype, pairs.mode, a."case", a.row, a.place,
            a.grade AS one_grade, b.grade AS other_grade, a.max_ulp AS one_error, b.max_ulp AS other_error,
            coalesce(a.bits <> b.bits, false) OR coalesce(a.out_dtype <> b.out_dtype, false) AS is_different,
            CASE WHEN a.quantity = 'loss' THEN apart(a.value, b.value, spacing(a.exact, a.dtype)) END AS apart
        FROM pairs
            JOIN done a ON a.device = one_device AND a.mode = one_mode
            JOIN done b ON b.device = other_device AND b.mode = other_mode
                AND a.implementation = b.implementation AND a.dtype = b.dtype
                AND a."case" = b."case" AND a.row = b.row AND a.quantity = b.quantity
    ), cases AS (
        SELECT number, one, other, implementation, dtype, mode, "case",
            max(one_grade) AS "grade of one", max(other_grade) AS "grade of other",
            count(DISTINCT row) AS rows, count(DISTINCT row) FILTER (is_different) AS different,
            max(apart) AS apart, max(one_error) AS "error of one", max(other_error) AS "error of other",
            min(place) AS first
        FROM compared GROUP BY ALL
    )
    SELECT * EXCLUDE (number, first) FROM cases
    WHERE different > 0 OR "grade of one" IS DISTINCT FROM "grade of other"
    ORDER BY number, "grade of one" IS NOT DISTINCT FROM "grade of other", apart DESC NULLS LAST, first
"""


def side_by_side(measurements: Measurements | pd.DataFrame) -> pd.DataFrame:
    """Return the cases whose results or grades differ between two devices, for each pair of devices that ran them.

    The CPU comes first in a pair. Cases with another grade come first, then those whose losses are farthest apart.

    Returns:
        Columns ``one`` and ``other``, the devices, with their modes if these differ, and ``implementation``, ``dtype``,
        ``mode`` (empty if the modes differ) and ``case``. The grade of each device is the worst over rows and
        quantities, and its error the largest in ulp. ``different`` counts the ``rows`` in which some quantity's bits
        differ. ``apart`` is the largest distance of two losses in ulp.
    """
    found = comparable(measurements)
    pairs = _pairs(found.cells)
    if pairs.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    return found.sql(_SIDE_BY_SIDE, pairs=pairs)


def _pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """Return each pair of a device and mode with another device."""
    sides = list(cells[["device", "mode"]].drop_duplicates().itertuples(index=False, name=None))
    sides.sort(key=lambda side: side[0] != "cpu")
    lines: list[tuple[object, ...]] = []
    for (one_device, one_mode), (other_device, other_mode) in combinations(sides, 2):
        same = one_mode == other_mode
        # An interpreted kernel is compared with the compiled one of a device; other modes with the same mode.
        if one_device == other_device or not (same or INTERPRETED in (one_mode, other_mode)):
            continue
        one, other = (
            (one_device, other_device) if same else (f"{one_device} {one_mode}", f"{other_device} {other_mode}")
        )
        lines.append((len(lines), one, other, one_device, one_mode, other_device, other_mode, one_mode if same else ""))
    names = ("number", "one", "other", "one_device", "one_mode", "other_device", "other_mode", "mode")
    return pd.DataFrame(lines, columns=list(names))
