"""The table of a study: for each cell and quantity the grade, the worst row, and where each grade is lost."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.formats import format_of_result
from ...core.vocabulary import GRADES, Grade, grade_rank
from ._measuring import Measured, Values
from ._rows import Rows

Float64 = NDArray[np.float64]

PROMISING = (Grade.A, Grade.B, Grade.C)  # the grades that promise an error
NAN = math.nan


@dataclass(frozen=True)
class Line:
    """One quantity of a cell, a line of the table. A gap is the target's logit minus the other one.

    Attributes:
        framework, implementation, formula, version, dtype, device, mode, quantity: the measured cell.
        status, detail: ``ok``, or the fault of the rows without a result, and its message.
        rows, measured: the number of all rows, and of those with a result.
        out_dtype: the dtype of the results.
        grade: the worst grade of a row.
        proof: the sentence that is proved; missing if a row has no result, or its grade promises no error.
        beyond_1_ulp, beyond_10_ulp, beyond_1000_ulp: the share of measured rows with a larger error.
        largest_ulp: the largest finite error.
        not_finite: the number of rows with grade F.
        a_lost_at, b_lost_at, c_lost_at, d_lost_at: the gap of the smallest magnitude with a worse grade than A, B, ...
        worst_gap, worst_first, worst_second, worst_target: the row of the worst grade with the largest error, of
            several the one with the smallest gap: its gap, logits and target.
        worst_entry, worst_value, worst_exact, worst_ulp, worst_verdict: its entry with the largest error, and the row's
            verdict. The error is infinite for a value that is not of its exact value's kind.
        bits: a digest of the results; implementations with the same digest agree bit for bit on all rows.
    """

    framework: str
    implementation: str
    formula: str
    version: str | None
    dtype: str
    device: str
    mode: str
    quantity: str
    status: str
    detail: str | None
    rows: int
    measured: int = 0
    out_dtype: str | None = None
    grade: str | None = None
    proof: str | None = None
    beyond_1_ulp: float = NAN
    beyond_10_ulp: float = NAN
    beyond_1000_ulp: float = NAN
    largest_ulp: float = NAN
    not_finite: int = 0
    a_lost_at: float = NAN
    b_lost_at: float = NAN
    c_lost_at: float = NAN
    d_lost_at: float = NAN
    worst_gap: float = NAN
    worst_first: float = NAN
    worst_second: float = NAN
    worst_target: int | None = None
    worst_entry: int | None = None
    worst_value: float = NAN
    worst_exact: float = NAN
    worst_ulp: float = NAN
    worst_verdict: str | None = None
    bits: str | None = None


COLUMNS = tuple(f.name for f in fields(Line))


def line(measured: Measured, rows: Rows) -> Line:
    """Return the line of one quantity of a cell."""
    cell, info = measured.cell, measured.cell.implementation
    empty = Line(
        cell.framework, info.name, info.formula, info.version, cell.dtype, cell.device, cell.mode, measured.quantity,
        measured.status.value, measured.detail or None, rows.number,
    )  # fmt: skip
    return empty if measured.values is None else _filled(empty, measured.values, rows)


def table(lines: Iterable[Line]) -> pd.DataFrame:
    """Return the lines as a table."""
    found = pd.DataFrame(list(lines), columns=list(COLUMNS))
    return found.astype({"worst_target": "Int64", "worst_entry": "Int64"})


def _filled(empty: Line, values: Values, rows: Rows) -> Line:
    ulp, gap, rank = values.graded.max_ulp, rows.gap[values.index], values.rank
    grade, finite = Grade(GRADES[rank.max()]), ulp[np.isfinite(ulp)]
    whole = len(values.index) == rows.number
    lost: dict[str, Any] = {f"{g.lower()}_lost_at": _smallest(gap[rank > i]) for i, g in enumerate(GRADES[:-1])}
    return replace(
        empty,
        measured=len(values.index),
        out_dtype=format_of_result(values.computed.dtype, rows.fmt).name,
        grade=grade.value,
        proof=_proof(grade, rows) if whole and grade in PROMISING else None,
        beyond_1_ulp=float((ulp > 1).mean()),
        beyond_10_ulp=float((ulp > 10).mean()),
        beyond_1000_ulp=float((ulp > 1000).mean()),
        largest_ulp=float(finite.max()) if finite.size else NAN,
        not_finite=int((rank == grade_rank(Grade.F)).sum()),
        bits=values.bits,
        **lost,
        **_worst(values, rows),
    )


def _proof(grade: Grade, rows: Rows) -> str:
    return f"grade {grade}{'' if grade is Grade.A else ' or better'} on {rows.wording}"


def _smallest(gaps: Float64) -> float:
    """Return the gap of the smallest magnitude, NaN if there is none."""
    return float(gaps[np.abs(gaps).argmin()]) if gaps.size else NAN


def _worst(values: Values, rows: Rows) -> dict[str, Any]:
    """Return the fields of the worst row."""
    rank = values.rank
    among = np.flatnonzero(rank == rank.max())
    ulp = values.graded.max_ulp[among]
    among = among[ulp == ulp.max()]
    row = int(among[np.abs(rows.gap[values.index[among]]).argmin()])
    at, standard = int(values.index[row]), values.standard.take(np.array([row]))
    computed = values.computed.reshape(len(values.index), -1)[row].astype(np.float64)
    errors = standard.errors(computed[None], values.computed.dtype).relative_to(standard.ulp)[0]
    entry = int(errors.argmax())
    return {
        "worst_gap": float(rows.gap[at]),
        "worst_first": float(rows.logits[at, 0]),
        "worst_second": float(rows.logits[at, 1]),
        "worst_target": int(rows.targets[at]),
        "worst_entry": entry,
        "worst_value": float(computed[entry]),
        "worst_exact": float(standard.wanted.hi[0, entry]),
        "worst_ulp": float(errors[entry]),
        "worst_verdict": str(values.graded.verdict[row]),
    }
