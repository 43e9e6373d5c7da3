"""The columns of a run's tables: the measurements, and the rows of its cases."""

from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from .manifest import CellKey


class Kind(NamedTuple):
    """The type of a column in pandas, in DuckDB and in the documentation."""

    pandas: str
    sql: str
    description: str


WORD = Kind("category", "VARCHAR", "category")
TEXT = Kind("string", "VARCHAR", "string")
FLAG = Kind("boolean", "BOOLEAN", "boolean, may be missing")
INTEGER = Kind("int32", "INTEGER", "int32")
COUNT = Kind("Int32", "INTEGER", "int32, may be missing")
DIGEST = Kind("Int64", "BIGINT", "int64, may be missing")
REAL = Kind("float64", "DOUBLE", "float64")


class Column(NamedTuple):
    """A column of the measurements table: its type and its meaning."""

    kind: Kind
    meaning: str


MEASUREMENTS = {
    "run": Column(WORD, "name of the run: the name of its folder, or the start time in UTC and eight random digits"),
    "case": Column(WORD, "`family/name` of the case"),
    "family": Column(WORD, "the case's family"),
    "row": Column(INTEGER, "row of the case, from 0, or -1 for a reduced loss"),
    "classes": Column(INTEGER, "number of classes, C"),
    "framework": Column(WORD, "name of the framework, as in `logitlab frameworks`"),
    "implementation": Column(WORD, "full name: framework, dotted public name, options in brackets"),
    "formula": Column(WORD, "`naive`, `lse`, `log1p` or `builtin`"),
    "dtype": Column(WORD, "format of the logits: `float16`, `bfloat16`, `float32`, `float64` or another"),
    "device": Column(WORD, "`cpu`, `cuda`, ..."),
    "mode": Column(WORD, "`eager`, `graph`, `compiled`, `interpreted` or `sharded`; with a variant `eager+one-thread`"),
    "version": Column(WORD, "version of the package that computes the result"),
    "quantity": Column(WORD, "`probabilities`, `loss` or `gradient`"),
    "out_dtype": Column(WORD, "format of the returned array, which is compared without rounding"),
    "status": Column(WORD, "`ok`, `unsupported`, `raised`, `crashed` or `timeout`"),
    "grade": Column(WORD, "A, B, C, D or F; missing if nothing is graded; an ignored row without a softmax has only "
                    "a verdict"),
    "verdict": Column(WORD, "`correct`, `inaccurate`, `lost` (no digit right), `nan`, `overflow`, `underflow`, "
                      "`swallowed` (finite but should not be) or `undefined`"),
    "first_failure": Column(WORD, "first stage of a written formula that failed in the row"),
    "finite": Column(FLAG, "whether every entry is finite"),
    "expected_finite": Column(FLAG, "whether every exact entry rounds to a finite number"),
    "n_nan": Column(COUNT, "entries that are NaN"),
    "n_posinf": Column(COUNT, "entries that are +inf"),
    "n_neginf": Column(COUNT, "entries that are -inf"),
    "n_zeroed": Column(COUNT, "entries that are 0 although the exact entry is not 0 and the dtype can represent it"),
    "value": Column(REAL, "the computed loss; missing for other quantities"),
    "exact": Column(REAL, "the exact loss, rounded to float64"),
    "max_abs": Column(REAL, "largest absolute error of an entry; infinite if an entry is not finite but should be, or "
                      "the reverse"),
    "max_rel": Column(REAL, "largest relative error, over entries in the dtype's normal range"),
    "max_ulp": Column(REAL, "largest error in ulp of the case's dtype at the exact value"),
    "signed_ulp": Column(REAL, "error of the loss in ulp with its sign, computed minus exact; missing for other "
                         "quantities and for NaN"),
    "condition": Column(REAL, "condition number of the row's loss"),
    "stability_ratio": Column(REAL, "relative error over condition number times unit roundoff"),
    "bound_unshifted": Column(REAL, "a-priori bound on `max_abs` without the shift by the maximum; missing if no "
                              "theorem applies"),
    "bound_shifted": Column(REAL, "a-priori bound on `max_abs` with the shift"),
    "bits": Column(DIGEST, "digest of the row's bits: equal for equal results; all NaN are equal"),
    "detail": Column(TEXT, "message of the exception, or why the call is unsupported"),
}  # fmt: skip

# The pandas type of each column, and the columns with categories of strings.
COLUMNS = {name: column.kind.pandas for name, column in MEASUREMENTS.items()}
WORDS = tuple(name for name, column in MEASUREMENTS.items() if column.kind is WORD)
# The columns that identify a measurement, and a cell in tables.
MEASUREMENT_KEY = ("case", "row", *CellKey._fields, "quantity")
CELL = ["framework", "implementation", "mode", "device", "dtype"]

# The cases of a run, one line for each shown row. ``rows`` and ``classes`` count those of the whole case; ``shown`` are
# the shown classes, ``logits`` their logits, and ``probabilities`` their targets if targets are probabilities.
CASES = pa.schema(
    [
        *((name, pa.string()) for name in ("case", "family", "why", "source", "reported", "tags", "options")),
        *((name, pa.int64()) for name in ("rows", "classes", "row", "target")),
        ("shown", pa.list_(pa.int64())),
        ("logits", pa.list_(pa.float64())),
        ("probabilities", pa.list_(pa.float64())),
    ]
)


class ProgramLine(NamedTuple):
    """A program that a run keeps: the case and the cell that it shows, the worst row and quantity there, and its text.

    ``row`` is -1 for a result of the whole batch.
    """

    case: str
    implementation: str
    dtype: str
    device: str
    mode: str
    row: int
    quantity: str
    grade: str
    program: str = ""


PROGRAMS = pa.schema([(name, pa.int64() if name == "row" else pa.string()) for name in ProgramLine._fields])


class BitwiseLine(NamedTuple):
    """A line of a run's table of bitwise invariance: how many rows of a width keep their bits in a changed call.

    ``property`` to ``where`` are those of `bitwise.Compared`. ``status`` is that of the calls. Without
    ``ok`` nothing is compared, and ``detail`` has the message.
    """

    framework: str
    implementation: str
    dtype: str
    device: str
    mode: str
    version: str
    classes: int
    property: str
    quantity: str
    rows: int
    different: int
    max_ulp: float
    row: int
    where: str
    status: str
    detail: str = ""


_BITWISE_TYPES = {"max_ulp": pa.float64()} | dict.fromkeys(("classes", "rows", "different", "row"), pa.int64())
BITWISE = pa.schema([(name, _BITWISE_TYPES.get(name, pa.string())) for name in BitwiseLine._fields])


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its columns in order and with their types."""
    ordered = table.reindex(columns=list(COLUMNS))
    # Converting a column to the type that it has takes as long as writing it, and astype copies also the others.
    kinds = ordered.dtypes
    others = {name: kind for name, kind in COLUMNS.items() if str(kinds[name]) != kind}
    return ordered.astype(others) if others else ordered
