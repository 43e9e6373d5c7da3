"""The rows of one call in the measurements table, and the table of a cell."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray
from pandas.api.types import pandas_dtype
from pandas.arrays import BooleanArray, IntegerArray

from ..core.formats import format_of_result
from ..core.vocabulary import Quantity, Status
from ..frameworks import LinearBatch
from ..frameworks.stages import Stage
from ..grading import Graded, invalid_target_answers, stability_ratio
from ..grading.first_failure import TracedBatch, first_failures
from ..oracle import Exact
from ..storage.schema import COLUMNS
from .plan import Cell, GradedCall, Group

Array = NDArray[Any]
# The values of a column: one for each row, one string for all rows, or None for missing values.
Column = Array | Sequence[Any] | str | None


@dataclass(frozen=True, eq=False)
class QuantityRows:
    """The columns of one quantity of one call in the measurements table; `cell_table` adds the cell's columns."""

    case: Sequence[str]
    family: Sequence[str]
    row: Array
    classes: Array
    quantity: str
    status: str
    detail: Column = None
    out_dtype: Column = None
    grade: Column = None
    verdict: Column = None
    first_failure: Column = None
    finite: Column = None
    expected_finite: Column = None
    n_nan: Column = None
    n_posinf: Column = None
    n_neginf: Column = None
    n_zeroed: Column = None
    value: Column = None
    exact: Column = None
    max_abs: Column = None
    max_rel: Column = None
    max_ulp: Column = None
    signed_ulp: Column = None
    condition: Column = None
    stability_ratio: Column = None
    bound_unshifted: Column = None
    bound_shifted: Column = None
    bits: Column = None


def quantity_rows(graded: GradedCall, stages: Sequence[Stage]) -> list[QuantityRows]:
    """Return the rows of one call, by quantity; ``stages`` are the stages of a traced call.

    `cell_table` builds one table from all calls of a cell. A cell has many small calls, and most of a table's cost is
    in its columns.
    """
    call, outcome = graded.call, graded.outcome
    group, info = call.group, call.cell.implementation
    first = _first_failures(graded, stages)
    # The fault of a missing quantity is in the rows of that quantity.
    message = replace(outcome, detail="" if outcome.lacking else outcome.detail).message
    present = [_present(group, q, array, graded.graded[q], first[q], message) for q, array in outcome.values]
    # A process that died returned no quantity and listed no missing ones.
    lacking = outcome.lacking or (() if outcome.values else group.quantities(info))
    return present + [_rows(group, quantity, outcome.status, outcome.message) for quantity in lacking]


def _first_failures(graded: GradedCall, stages: Sequence[Stage]) -> Mapping[str, Sequence[str | None]]:
    """Return the stage that failed first, by quantity and row."""
    call = graded.call
    group, batch = call.group, call.group.batch()
    if isinstance(batch, LinearBatch):
        return {quantity: [None] * len(found.verdict) for quantity, found in graded.graded.items()}
    formula = call.cell.implementation.trace
    return first_failures(TracedBatch(formula, stages, batch, group.fmt, group.exact, graded.graded))


def cell_table(run_name: str, cell: Cell, parts: Sequence[QuantityRows]) -> pd.DataFrame:
    """Return the measurements of a cell's calls in one table."""
    info = cell.implementation
    of_cell = {
        "run": run_name, "framework": cell.framework, "implementation": info.name, "formula": info.formula,
        "dtype": cell.dtype, "device": cell.device, "mode": cell.mode, "version": info.version,
    }  # fmt: skip
    sizes = [len(part.row) for part in parts]
    columns = {
        name: _column([of_cell[name]], [sum(sizes)], kind)
        if name in of_cell
        else _column([getattr(part, name) for part in parts], sizes, kind)
        for name, kind in COLUMNS.items()
    }
    return pd.DataFrame(columns)


def _column(parts: Sequence[Column], sizes: Sequence[int], kind: str) -> Array | ExtensionArray | pd.Series:
    """Return a column joined from its parts, in its type; converting the whole table later would cost more."""
    pairs = list(zip(parts, sizes, strict=True))
    if kind == "category":
        return _categories(pairs)
    if kind == "string":
        return pd.Series([value for part, n in pairs for value in _listed(part, n)], dtype=pandas_dtype(kind))
    number = np.dtype({"boolean": "bool"}.get(kind, kind.lower()))
    empty = np.nan if kind == "float64" else 0
    filled = [np.full(n, empty, number) if part is None else np.asarray(part, number) for part, n in pairs]
    values = np.concatenate([np.empty(0, number), *filled])
    if kind in ("float64", "int32"):
        return values
    missing = np.repeat([part is None for part, _ in pairs], [n for _, n in pairs]).astype(bool)
    return BooleanArray(values, missing) if kind == "boolean" else IntegerArray(values, missing)


def _categories(pairs: Sequence[tuple[Column, int]]) -> pd.Categorical:
    # Python's own strings have a cached hash; those of an array are new objects.
    listed = [(part.tolist() if isinstance(part, np.ndarray) else part, n) for part, n in pairs if n]
    words = sorted({str(value) for part, _ in listed for value in _distinct(part)})
    code = {word: i for i, word in enumerate(words)} | {None: -1}
    codes = [
        np.full(n, code[part], np.intp)
        if part is None or isinstance(part, str)
        else np.fromiter(map(code.__getitem__, part), np.intp, n)
        for part, n in listed
    ]
    return pd.Categorical.from_codes(np.concatenate([np.empty(0, np.intp), *codes]), pd.Index(words, dtype="str"))


def _distinct(part: Column) -> set[str]:
    return {part} if isinstance(part, str) else set(() if part is None else part) - {None}


def _listed(part: Column, size: int) -> list[Any]:
    return [part] * size if part is None or isinstance(part, str) else list(part)


def _rows(group: Group, quantity: str, status: Status, detail: str | None) -> QuantityRows:
    """Return the rows of a missing quantity."""
    rows = group.case_rows(reduced=group.is_one_row(quantity))
    return QuantityRows(rows.case, rows.family, rows.row, rows.classes, quantity, status.value, detail)


def _present(
    group: Group, quantity: str, array: Array, graded: Graded, first_failure: Sequence[str | None], message: str
) -> QuantityRows:
    """Return the rows of a returned quantity; ``message`` is the remark about the call, or empty."""
    exact = group.exact
    of_batch = group.is_one_row(quantity)
    of_case = group.case_rows(reduced=of_batch)
    rows = QuantityRows(
        of_case.case, of_case.family, of_case.row, of_case.classes, quantity, Status.OK.value, message or None,
        grade=graded.grade, verdict=graded.verdict, first_failure=first_failure,
        finite=graded.finite, expected_finite=graded.expected_finite,
        n_nan=graded.n_nan, n_posinf=graded.n_posinf, n_neginf=graded.n_neginf, n_zeroed=graded.n_zeroed,
        max_abs=graded.max_abs, max_rel=graded.max_rel, max_ulp=graded.max_ulp,
        condition=None if of_batch else exact.condition, out_dtype=format_of_result(array.dtype, group.fmt).name,
        bits=_bits(array.reshape(1, -1) if of_batch else array),
    )  # fmt: skip
    if (bounds := group.apriori(quantity)) is not None:
        rows = replace(rows, bound_unshifted=bounds[0], bound_shifted=bounds[1])
    if quantity != Quantity.LOSS:
        return rows
    value = array.astype(np.float64).reshape(-1)
    signed = _signed(graded.max_ulp, value, exact.loss)
    rows = replace(rows, value=value, exact=exact.loss.hi.reshape(-1), signed_ulp=signed)
    if group.cases[0].invalid:
        answers = invalid_target_answers(array, group.logits, group.targets)
        details = ("" if answer is None else answer.detail for answer in answers)
        rows = replace(rows, detail=["; ".join(filter(None, (detail, message))) for detail in details])
    if of_batch:
        return rows
    ratio = stability_ratio(graded.max_abs, exact.loss.hi, exact.condition, group.fmt)
    return replace(rows, stability_ratio=ratio)


def _signed(max_ulp: NDArray[np.float64], value: NDArray[np.float64], exact: Exact) -> NDArray[np.float64]:
    """Return the errors of losses in ulp, computed minus exact; NaN for a NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = (value - exact.hi.reshape(-1)) - exact.lo.reshape(-1)
    # Two equal infinities have the error 0, and the difference NaN.
    return np.where(max_ulp == 0, 0.0, np.sign(difference) * max_ulp)


def _bits(values: Array) -> NDArray[np.int64]:
    """Return a digest of each row of values (R,) or (R, E); equal bits give equal digests, and all NaN are equal."""
    is_nan = np.isnan(values)
    same = np.where(is_nan, values.dtype.type(np.nan), values) if is_nan.any() else values
    data, size = same.tobytes(), values[:1].nbytes
    rows = (data[i * size : (i + 1) * size] for i in range(len(values)))
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, np.dtype("<i8")).astype(np.int64)
