"""The worst grade of each loss, and one result that decides it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from ...core.errors import UsageError, short_repr
from ...core.vocabulary import GRADES, Grade, Verdict
from ...storage.querying import Measurements
from .grades import Column, reference_column
from .ordering import CELL

# The cases in the documentation decide a grade if they can, the first before the others.
KNOWN = ("seed/article", "masks/first", "masks/on_target", "offset/1e06", "gap/20_high")


class Result(NamedTuple):
    """A result that decides a grade, by columns of the measurements table."""

    case: str
    row: int
    quantity: str
    verdict: str
    value: float
    exact: float
    max_ulp: float


RESULT = list(Result._fields)
NEEDED = (*CELL, "formula", "version", "classes", "status", "grade", *RESULT)
# The first row of each case, quantity and verdict in which an implementation has its worst grade.
_AT_WORST = """
    SELECT implementation, grade, classes, "case", "row", quantity, coalesce(verdict, 'inaccurate') AS verdict,
        value, exact, max_ulp
    FROM measurements WHERE status = 'ok' AND grade IS NOT NULL AND {condition}
    QUALIFY grade = max(grade) OVER (PARTITION BY implementation)
        AND row_number() OVER (PARTITION BY implementation, grade, "case", quantity, verdict ORDER BY "row") = 1
    ORDER BY place"""


def safety(measurements: Measurements | pd.DataFrame, column: Column | None = None) -> pd.DataFrame:
    """Return the worst grade of each implementation, and one result with that grade.

    Args:
        measurements: those of a run, or of several.
        column: a dtype, mode and device; by default float32, eager and the CPU, or the first measured instead.

    Returns:
        ``implementation``, ``grade`` and the columns of `Result`, which are missing for grade A. The lines are ordered
        by grade; losses that the same case, quantity and verdict decide stand together.

    Raises:
        UsageError: for anything but measurements, or if a needed column is missing.
    """
    if isinstance(measurements, pd.DataFrame):
        lacking = [c for c in NEEDED if c not in measurements]
        if lacking:
            raise UsageError(f"the table has no column {', '.join(lacking)}; give the whole table of a run")
    elif not isinstance(measurements, Measurements):
        raise UsageError(f"the measurements are {short_repr(measurements)}; expected the DataFrame of a run")
    found = Measurements.of(measurements)
    column = column or reference_column(found.cells)
    if column is None:
        return pd.DataFrame(columns=["implementation", "grade", *RESULT])
    results = found.sql(_AT_WORST.format(condition=column.condition))
    accurate = results.loc[results["grade"] == Grade.A, ["implementation", "grade"]].drop_duplicates()
    parts = [accurate, deciding(results)]
    return pd.concat(parts, ignore_index=True)[["implementation", "grade", *RESULT]]


def deciding(results: pd.DataFrame, known: Sequence[str] = KNOWN) -> pd.DataFrame:
    """Return one result of each implementation with a grade worse than A, from as few cases as possible.

    Args:
        results: the results with the worst grade of each implementation: ``implementation``, ``grade``, ``case``,
            ``row``, ``quantity``, ``verdict``, ``classes``, and any other columns.
        known: cases that decide a grade if they can.

    Returns:
        Lines of ``results``, grade by grade; lines that share a case, quantity and verdict stand together.
    """
    chosen = [results.head(0)]
    for grade in GRADES[1:]:
        left = results[results["grade"] == grade]
        while not left.empty:
            case, quantity, verdict = _most_shared(left, known)
            there = left[(left["case"] == case) & (left["quantity"] == quantity) & (left["verdict"] == verdict)]
            chosen.append(there.sort_values("row", kind="stable").drop_duplicates("implementation").sort_index())
            left = left[~left["implementation"].isin(there["implementation"])]
    return pd.concat(chosen, ignore_index=True)


def _most_shared(left: pd.DataFrame, known: Sequence[str]) -> tuple[str, str, str]:
    """The case, quantity and verdict that most implementations share; known cases first, then narrow ones."""
    keys = ["case", "quantity", "verdict"]
    shared = left.groupby(keys).agg(count=("implementation", "nunique"), classes=("classes", "first")).reset_index()
    places = {case: place for place, case in enumerate(known)}
    shared["known"] = [places.get(case, len(known)) for case in shared["case"]]
    shared["is_correct"] = shared["verdict"] == Verdict.CORRECT.value
    order = {"is_correct": True, "known": True, "count": False, "classes": True, "case": True, "quantity": True}
    first = shared.sort_values(list(order), ascending=list(order.values())).iloc[0]
    return str(first["case"]), str(first["quantity"]), str(first["verdict"])
