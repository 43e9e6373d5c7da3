"""Shares of results that are finite where they should be, and sizes of errors."""

import pandas as pd

from ...core.vocabulary import Quantity
from ...storage.querying import Measurements
from .medians import medians
from .ordering import CELL, KEYS, in_order
from .uncounted import COUNTED_ULP, LARGEST, LARGEST_UNCOUNTED, UNCOUNTED

# The quantities whose errors are listed.
LISTED = tuple(q.value for q in Quantity if q is not Quantity.PROBABILITIES)
_SIDES = {True: "finite where it should be", False: "not finite where it should not"}


def finiteness(measurements: Measurements | pd.DataFrame) -> pd.DataFrame:
    """Return the shares of rightly finite rows, between 0 and 1, and their numbers of rows, a line for each cell."""
    found = Measurements.of(measurements)
    rows = found.sql(
        f"""SELECT {KEYS}, expected_finite AS side, count(*) AS count,
            count(*) FILTER (grade <> 'F' OR finite = expected_finite) AS right
        FROM measurements WHERE grade IS NOT NULL AND expected_finite IS NOT NULL GROUP BY ALL"""
    )
    rows["side"], rows["mean"] = rows["side"].map(_SIDES), rows["right"] / rows["count"]
    mean, count = (rows.pivot(index=CELL, columns="side", values=value) for value in ("mean", "count"))
    shares = mean.join(count.add_prefix("rows ")).rename_axis(columns=None)
    wanted = [*_SIDES.values(), *(f"rows {s}" for s in _SIDES.values())]
    return in_order(found.cells, shares.reindex(columns=wanted).reset_index())


def errors(measurements: Measurements | pd.DataFrame) -> pd.DataFrame:
    """Return the median and largest error in ulp of loss and gradients, a line for each cell.

    ``<quantity> uncounted`` is the largest error that the module `uncounted` leaves out, if it exceeds the others, and
    missing otherwise.
    """
    found = Measurements.of(measurements)
    rows = f"FROM measurements WHERE grade IS NOT NULL AND quantity IN {LISTED} AND max_ulp IS NOT NULL"
    keys = [*CELL, "quantity"]
    largest = found.sql(f"SELECT {KEYS}, quantity, {LARGEST}, {LARGEST_UNCOUNTED} {rows} GROUP BY ALL")
    middle = medians(found, keys, {"median": "ulps"}, f"SELECT {KEYS}, quantity, {COUNTED_ULP} AS ulps {rows}")
    kinds = ["median", "largest", "uncounted"]
    table = largest.merge(middle, on=keys, how="left").pivot(index=CELL, columns="quantity", values=kinds)
    table.columns = [f"{c[1]} {c[0]}" for c in table.columns]
    wanted = [f"{q} {kind}" for q in LISTED for kind in kinds]
    return in_order(found.cells, table.reindex(columns=wanted).reset_index())


def by_family(found: Measurements, condition: str = "true") -> pd.DataFrame:
    """Return the number of graded ``rows`` of each cell and family, how many are ``F``, and the share ``broken``.

    A row is broken if it is F and not finite where it should be, or the reverse. ``condition`` is SQL.
    """
    return found.sql(
        f"""SELECT {KEYS}, family, count(*) AS rows, count(*) FILTER (grade = 'F') AS F,
            avg((grade = 'F' AND finite <> expected_finite)::INTEGER) AS broken
        FROM measurements WHERE grade IS NOT NULL AND {condition} GROUP BY {KEYS}, family ORDER BY min(place)"""
    )


def largest_errors(found: Measurements) -> pd.DataFrame:
    """Return the row with the largest finite error of each implementation, dtype and quantity, over modes and devices.

    Errors of at most half an ulp are left out, since a right result has them. So are errors that no grade counts.

    Returns:
        Columns ``implementation``, ``dtype``, ``mode``, ``device``, ``quantity``, ``case``, ``row``, ``ulp``,
        ``version`` and ``run``.
    """
    place = 'struct_pack(device, mode, name := "case", at := row, ulp := max_ulp, version, run)'
    return found.sql(
        f"""SELECT implementation, dtype, worst.mode, worst.device, quantity, worst.name AS "case", worst.at AS row,
            worst.ulp, worst.version, worst.run
        FROM (
            SELECT implementation, dtype, quantity, max_by({place}, (max_ulp, -place)) AS worst FROM measurements
            WHERE grade IS NOT NULL AND max_ulp > 0.5 AND max_ulp < 'infinity' AND NOT {UNCOUNTED}
            GROUP BY implementation, dtype, quantity
        )"""
    )
