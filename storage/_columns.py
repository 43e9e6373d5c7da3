"""The columns of what a run keeps: the measurements table, and the lines about its cases."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

# The measurements table: one row per case row, cell and quantity.
WORDS = (
    "run", "case", "family", "framework", "implementation", "formula", "dtype", "device", "mode", "version",
    "quantity", "out_dtype", "status", "grade", "verdict", "first_failure",
)  # fmt: skip
COLUMNS: dict[str, str] = {
    "run": "category", "case": "category", "family": "category", "row": "int32", "classes": "int32",
    "framework": "category", "implementation": "category", "formula": "category", "dtype": "category",
    "device": "category", "mode": "category", "version": "category",
    "quantity": "category", "out_dtype": "category", "status": "category", "grade": "category", "verdict": "category",
    "first_failure": "category",
    "finite": "boolean", "expected_finite": "boolean",
    "n_nan": "Int32", "n_posinf": "Int32", "n_neginf": "Int32", "n_zeroed": "Int32",
    "value": "float64", "exact": "float64",
    "max_abs": "float64", "max_rel": "float64", "max_ulp": "float64", "condition": "float64",
    "stability_ratio": "float64", "bound_unshifted": "float64", "bound_shifted": "float64",
    "bits": "Int64",
    "detail": "string",
}  # fmt: skip

# The cases of a run, one line for each of their rows that is shown. ``rows`` and ``classes`` are the whole case's;
# ``shown`` are classes, ``logits`` their logits and ``probabilities`` their targets, where targets are such.
CASES = pa.schema(
    [
        *((name, pa.string()) for name in ("case", "family", "why", "source", "reported", "tags", "options")),
        *((name, pa.int64()) for name in ("rows", "classes", "row", "target")),
        ("shown", pa.list_(pa.int64())),
        ("logits", pa.list_(pa.float64())),
        ("probabilities", pa.list_(pa.float64())),
    ]
)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns in order and of their types."""
    return table.reindex(columns=list(COLUMNS)).astype(COLUMNS)
