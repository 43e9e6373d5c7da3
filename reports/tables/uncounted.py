"""Errors that no grade counts, and how the tables of errors leave them out.

Every grade allows an error of the dtype's smallest normal number ``t`` besides its relative part, so a subnormal
flushed to zero is accurate. Its error is up to 2^(precision - 1) ulp, 8.4e6 in float32: as the largest error of an A
loss it would contradict the grade. Medians and largest errors therefore leave such rows out. A `MARK` shows that a
larger error is left out, and the column ``<quantity> uncounted`` has the largest of these.
"""

from collections.abc import Mapping

import pandas as pd

from ...core.formats import FORMATS, NARROW
from ...core.vocabulary import accurate_ulps

_KNOWN = FORMATS | NARROW  # in a described format no error is left out
MARK = "†"
MEANING = (
    f"{MARK} (or a column uncounted): larger errors are left out because every grade allows them. They are within the "
    "dtype's smallest normal number, such as a subnormal flushed to zero."
)
MANY_ULP = (  # for tables of single rows
    "A row with grade A and many ulp has an error within the dtype's smallest normal number, which every grade allows: "
    "for example a subnormal flushed to zero."
)


def _of_dtype(values: Mapping[str, str]) -> str:
    whens = " ".join(f"WHEN '{name}' THEN {value}" for name, value in values.items())
    return f"CASE dtype {whens} END"


def _uncounted() -> str:
    """SQL that is true of a row that has grade A thanks to ``t``: its error is beyond A's relative part.

    For capped or scaled logits A allows more than the limit here, so the error must also be within ``t``. There are two
    ways to know this: the whole row's error is within ``t``, or the entry with the most ulp is subnormal. It is
    subnormal if that many ulp of a normal number would exceed the row's ``max_rel``, which covers normal numbers only.
    """
    limits = {name: accurate_ulps(fmt) for name, fmt in _KNOWN.items()}
    limit = _of_dtype({name: f"{c!r} + {d!r} * sqrt(classes)" for name, (c, d) in limits.items()})
    smallest = _of_dtype({name: f"{fmt.smallest_normal!r}" for name, fmt in _KNOWN.items()})
    roundoff = _of_dtype({name: f"{fmt.unit_roundoff!r}" for name, fmt in _KNOWN.items()})
    within = f"coalesce(max_abs * (1 - {limit} / max_ulp) <= {smallest}, false)"
    subnormal = f"coalesce(max_ulp * {roundoff} > max_rel, false)"
    more = f"max_ulp > {limit} AND max_ulp < 'infinity'"
    return f"coalesce(grade = 'A' AND row >= 0 AND {more} AND ({within} OR {subnormal}), false)"


UNCOUNTED = _uncounted()
COUNTED_ULP = f"CASE WHEN NOT {UNCOUNTED} THEN max_ulp END"
# Aggregates of a group. An error that is left out needs no mention unless it exceeds the others.
LARGEST = f"max(max_ulp) FILTER (NOT {UNCOUNTED}) AS largest"
LARGEST_UNCOUNTED = f"""CASE WHEN max(max_ulp) FILTER ({UNCOUNTED}) >= coalesce(max(max_ulp), 0)
    THEN max(max_ulp) FILTER ({UNCOUNTED}) END AS uncounted"""


def median_and_largest(median: float, largest: float, uncounted: float) -> str:
    """Return ``0.5 / 3.2``, ``0.5 / 3.2 †``, or the mark only if every row is left out."""
    mark = MARK if pd.notna(uncounted) else ""
    numbers = "" if pd.isna(largest) else f"{median:.2g} / {largest:.2g}"
    return f"{numbers} {mark}".strip()
