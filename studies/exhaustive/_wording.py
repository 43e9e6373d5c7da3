"""The results of a study in words, for the terminal and the pictures."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ...core.vocabulary import Grade

Record = Mapping[Hashable, Any]  # a line of the table


def alike(table: pd.DataFrame) -> Iterator[Sequence[Record]]:
    """Yield the lines in groups that agree bit for bit, in the order of their first; a line without result alone."""
    key = table["bits"].fillna(pd.Series([f"none {i}" for i in range(len(table))], index=table.index))
    for _, lines in table.groupby(["dtype", "quantity", key], sort=False):
        yield lines.to_dict("records")


def number(value: float) -> str:
    """Return a number in three digits, with a sign that a terminal and a figure show alike."""
    return f"{value:.3g}" if math.isfinite(value) else "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"


def result(line: Record) -> str:
    """Return text such as "B: 12.3 ulp at gap 4.16"; for an F the value that is not finite, or should not be."""
    where = f"at gap {number(line['worst_gap'])}"
    if line["grade"] == Grade.F:
        return f"F: {number(line['worst_value'])} instead of {number(line['worst_exact'])} {where}"
    return f"{line['grade']}: {number(line['worst_ulp'])} ulp {where}"


def lost(line: Record) -> str:
    """Return where grade A is first lost, such as "A lost from gap 0.0156"; empty if it is not."""
    return "" if math.isnan(line["a_lost_at"]) else f"A lost from gap {number(line['a_lost_at'])}"
