"""Versions in a row with the same results, as one line of a table."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ..compare import CELL

_SAME = ("grade", "largest_ulp", "median_ulp", "finite", "rows", "graded", "failed", "status")
HEAD = ("version", "quantity", "grade", "largest ulp", "median ulp", "finite", "same bits")


class Stretch(NamedTuple):
    """The line of one or more versions: the words of the columns `HEAD`."""

    version: str
    quantity: str
    grade: str
    largest: str
    median: str
    finite: str
    same_bits: str


def stretches(points: pd.DataFrame) -> Iterator[tuple[str, list[Stretch]]]:
    """Yield each cell of the points, and its lines: versions in a row are one line if no bit and no number differs."""
    for cell, of_cell in points.groupby(CELL, sort=False):
        lines = []
        for _, of_quantity in of_cell.groupby("quantity", sort=False):
            records = [
                dict(zip(map(str, of_quantity), line, strict=True)) for line in of_quantity.itertuples(index=False)
            ]
            start = 0
            for end in range(1, len(records) + 1):
                if end == len(records) or not _alike(records[end - 1], records[end]):
                    lines.append(_stretch(records[start:end]))
                    start = end
        yield " ".join(map(str, cell)), lines


def _alike(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return after["same_bits"] in (1.0, None) and all(_equal(before[c], after[c]) for c in _SAME)


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other or (pd.isna(one) and pd.isna(other)))


def _stretch(records: Sequence[Mapping[str, Any]]) -> Stretch:
    first, last = records[0], records[-1]
    version = first["version"] if first is last else f"{first['version']} to {last['version']}"
    grade = first["grade"] or ("none" if first["status"] == "ok" else first["status"])
    failed = f" ({first['failed']:,} rows {first['status']})" if first["grade"] and first["failed"] else ""
    return Stretch(
        version, first["quantity"], f"{grade}{failed}", _number(first["largest_ulp"]), _number(first["median_ulp"]),
        _share(first["finite"]), _share(first["same_bits"]),
    )  # fmt: skip


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _share(value: float) -> str:
    """Return a share in percent, rounded down, so that 100 % means all."""
    return "" if math.isnan(value) else f"{math.floor(value * 1000) / 10:g} %"
