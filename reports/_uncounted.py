"""Errors that count for nothing in a grade, however many ulp they are: what all tables of errors do with them.

Every grade allows an error of the dtype's smallest normal number ``t`` besides its relative part: a subnormal that is
flushed to zero is accurate. Its error is up to 2^(precision - 1) ulp, 8.4e6 in float32, and as "the largest error" of
an A loss it would say the contrary of the grade. So medians and largest errors are of the other rows, a `MARK` stands
where a larger error was left out, and the column ``<quantity> uncounted`` has the largest of those.
"""

from __future__ import annotations

import pandas as pd

from ..formats import FORMATS
from ..grading import accurate_ulps

MARK = "†"
MEANING = (
    f"{MARK}: larger errors are left out that are within the dtype's smallest normal number, which every grade allows, "
    "as of a subnormal flushed to zero."
)
MANY_ULP = (  # where rows stand one by one
    "An A of many ulp has an error within the dtype's smallest normal number, which every grade allows, as of a "
    "subnormal flushed to zero."
)


def _limit() -> str:
    """The most ulp that A's relative part allows a row, in SQL: an A row of more is A thanks to ``t``."""
    limits = {name: accurate_ulps(fmt) for name, fmt in FORMATS.items()}
    of_dtype = " ".join(f"WHEN '{name}' THEN {c!r} + {d!r} * sqrt(classes)" for name, (c, d) in limits.items())
    return f"CASE dtype {of_dtype} END"


UNCOUNTED = f"coalesce(grade = 'A' AND row >= 0 AND max_ulp > {_limit()}, false)"  # of a row of measurements
COUNTED_ULP = f"CASE WHEN NOT {UNCOUNTED} THEN max_ulp END"
# Aggregates of a group. What is left out and no larger than the rest needs no word.
LARGEST = f"max(max_ulp) FILTER (NOT {UNCOUNTED}) AS largest"
LARGEST_UNCOUNTED = f"""CASE WHEN max(max_ulp) FILTER ({UNCOUNTED}) >= coalesce(max(max_ulp), 0)
    THEN max(max_ulp) FILTER ({UNCOUNTED}) END AS uncounted"""


def median_and_largest(median: float, largest: float, uncounted: float) -> str:
    """``0.5 / 3.2``, ``0.5 / 3.2 †``; the mark alone where every row is left out."""
    mark = MARK if pd.notna(uncounted) else ""
    numbers = "" if pd.isna(largest) else f"{median:.2g} / {largest:.2g}"
    return f"{numbers} {mark}".strip()
