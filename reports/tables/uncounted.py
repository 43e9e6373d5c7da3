"""Errors that count for nothing in a grade, however many ulp they are: what all tables of errors do with them.

Every grade allows an error of the dtype's smallest normal number ``t`` besides its relative part: a subnormal that is
flushed to zero is accurate. Its error is up to 2^(precision - 1) ulp, 8.4e6 in float32, and as "the largest error" of
an A loss it would say the contrary of the grade. So medians and largest errors are of the other rows, a `MARK` stands
where a larger error was left out, and the column ``<quantity> uncounted`` has the largest of those.
"""

from collections.abc import Mapping

import pandas as pd

from ...core.formats import FORMATS
from ...core.vocabulary import accurate_ulps

MARK = "†"
MEANING = (
    f"{MARK} (a column uncounted, where there is one): larger errors are left out, within the dtype's smallest normal "
    "number, which every grade allows, as of a subnormal flushed to zero."
)
MANY_ULP = (  # where rows stand one by one
    "An A of many ulp has an error within the dtype's smallest normal number, which every grade allows, as of a "
    "subnormal flushed to zero."
)


def _of_dtype(values: Mapping[str, str]) -> str:
    whens = " ".join(f"WHEN '{name}' THEN {value}" for name, value in values.items())
    return f"CASE dtype {whens} END"


def _uncounted() -> str:
    """Whether a row of measurements is A thanks to ``t``: its error is more ulp than A's relative part allows.

    Where a loss is of capped or scaled logits A allows more. So the error must be within ``t`` too: all of the row's
    is, or the entry that is off by most ulp is no normal number, since that many ulp of one would be a larger relative
    error than the row's ``max_rel``, which is of normal numbers.
    """
    limits = {name: accurate_ulps(fmt) for name, fmt in FORMATS.items()}
    limit = _of_dtype({name: f"{c!r} + {d!r} * sqrt(classes)" for name, (c, d) in limits.items()})
    smallest = _of_dtype({name: f"{fmt.smallest_normal!r}" for name, fmt in FORMATS.items()})
    roundoff = _of_dtype({name: f"{fmt.unit_roundoff!r}" for name, fmt in FORMATS.items()})
    within = f"coalesce(max_abs * (1 - {limit} / max_ulp) <= {smallest}, false)"
    subnormal = f"coalesce(max_ulp * {roundoff} > max_rel, false)"
    more = f"max_ulp > {limit} AND max_ulp < 'infinity'"
    return f"coalesce(grade = 'A' AND row >= 0 AND {more} AND ({within} OR {subnormal}), false)"


UNCOUNTED = _uncounted()
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
