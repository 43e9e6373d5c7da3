"""Distributions of errors: quantiles, shares beyond a number of ulp, bias, and entries that came out 0.

There are three kinds of graded rows. A row whose error is not finite is `FAILED`. A row whose error no grade counts is
`UNCOUNTED`: see the module `uncounted`. All statistics are over the others, whose number is `COUNTED`.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...core import arguments
from ...core.arguments import Strings
from ...core.errors import UsageError
from ...core.vocabulary import Quantity
from ...storage.querying import Measurements, quoted
from ...storage.store import Run
from .curves import PREFIX
from .curves import QUANTITIES as DRAWN
from .medians import Quantile, quantiles
from .ordering import CELL, in_order
from .uncounted import UNCOUNTED as IS_UNCOUNTED

BEYOND = (1, 10, 1000)  # ulp
MAX_BIASED = 1000  # ulp; one error of 1e20 ulp would decide a mean by itself
QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
ROWS, FAILED, UNCOUNTED, COUNTED, LARGEST = "rows", "failed", "uncounted", "counted", "largest"
BIAS, TOO_LARGE, TOO_SMALL, ZEROED = "bias", "too large", "too small", "zeroed"
SHARES = tuple(f"beyond {ulps}" for ulps in BEYOND)
STATISTICS = (
    ROWS, FAILED, UNCOUNTED, COUNTED, *QUANTILES, LARGEST, *SHARES, BIAS, TOO_LARGE, TOO_SMALL, ZEROED,
)  # fmt: skip
# The columns that rows are grouped by: of the measurements table, and the axis of a sweep with its value.
AXIS = ("axis", "along")
GROUPS = (
    "run", "case", "family", "row", "classes", "framework", "implementation", "formula", "dtype", "device", "mode",
    "version", "quantity", "grade", *AXIS,
)  # fmt: skip

NEEDED = ("case", "family", "row", "classes", "dtype", "quantity", "grade", "n_zeroed", "max_abs", "max_rel", "max_ulp")

# The quantities with as many entries as classes: of the others the table does not have the number of entries.
_WIDE = (Quantity.PROBABILITIES.value, Quantity.GRADIENT.value, Quantity.GRADIENT_BIAS.value)
_HAS_ENTRIES = (*_WIDE, Quantity.LOSS.value)
_ENTRIES = f"CASE WHEN quantity IN {_WIDE} THEN classes WHEN quantity = '{Quantity.LOSS}' THEN 1 END"
_ALONG = "TRY_CAST(split_part(\"case\", '/', -1) AS DOUBLE)"
_FINITE = "coalesce(max_ulp < 'infinity', false)"
# Sums of integers do not depend on the order of the rows, as sums of floating-point numbers do.
_UNIT = 2**32  # for each ulp
_BIAS = f"sum(floor(signed * {_UNIT} + 0.5)::BIGINT)::DOUBLE / count(signed) / {_UNIT}"


def rows_of(condition: str = "true") -> str:
    """Return SQL of the graded rows: ``ulp``, the errors that count, and ``signed``, the errors for the bias."""
    return f"""
        SELECT *, CASE WHEN {_FINITE} AND NOT left_out THEN max_ulp END AS ulp,
            CASE WHEN max_ulp <= {MAX_BIASED} AND NOT left_out AND isfinite(signed_ulp) THEN signed_ulp END AS signed
        FROM (
            SELECT *, {IS_UNCOUNTED} AS left_out, {_ENTRIES} AS entries,
                CASE WHEN starts_with(family, '{PREFIX}') THEN substr(family, {len(PREFIX) + 1}) END AS axis,
                CASE WHEN starts_with(family, '{PREFIX}') THEN {_ALONG} END AS along
            FROM measurements WHERE grade IS NOT NULL AND {condition}
        )"""


def distribution(found: Measurements, keys: Sequence[str], condition: str = "true") -> pd.DataFrame:
    """Return the statistics of `distributions` for each group of rows, in the order of their first rows.

    Args:
        found: the measurements.
        keys: columns of `GROUPS`. Rows without one of them, such as the axis of a sweep, are left out.
        condition: SQL that is true of the rows.
    """
    names = ", ".join(f'"{k}"' for k in keys)
    known = " AND ".join([f'"{k}" IS NOT NULL' for k in keys] or ["true"])
    rows = f"SELECT * FROM ({rows_of(condition)}) WHERE {known}"
    beyond = ", ".join(f'avg((ulp > {ulps})::INTEGER) AS "beyond {ulps}"' for ulps in BEYOND)
    table = found.sql(
        f"""SELECT {names}, count(*) AS rows, avg((NOT {_FINITE})::INTEGER) AS failed,
            avg(left_out::INTEGER) AS uncounted, count(ulp) AS counted, max(ulp) AS largest, {beyond},
            {_BIAS} AS bias, avg((signed > 0)::INTEGER) AS "{TOO_LARGE}", avg((signed < 0)::INTEGER) AS "{TOO_SMALL}",
            sum(n_zeroed) FILTER (entries IS NOT NULL)::DOUBLE / sum(entries) FILTER (n_zeroed IS NOT NULL) AS zeroed
        FROM ({rows}) GROUP BY {names} ORDER BY min(place)"""
    )
    wanted = {name: Quantile("ulp", share) for name, share in QUANTILES.items()}
    # Only the columns that are needed: those of all rows would fill the memory.
    table = table.merge(quantiles(found, keys, wanted, f"SELECT {names}, ulp FROM ({rows})"), "left", list(keys))
    return table[[*keys, *STATISTICS]]


def distributions(
    measurements: pd.DataFrame | Path | str, by: Strings = ("implementation", "dtype", "quantity")
) -> pd.DataFrame:
    """Return how the errors of each group of graded rows are distributed.

    ::

        logitlab.distributions("runs/mine", by=["formula", "dtype", "axis", "along", "quantity"])

    A row's error is its ``max_ulp``. Rows whose error is not finite are counted by ``failed``. Rows whose error is
    within the dtype's smallest normal number, which every grade allows, are counted by ``uncounted``. All other
    statistics but ``zeroed`` are over the remaining rows.

    Args:
        measurements: the measurements table, or the folder of a run.
        by: the columns that name a group, one or several. The measurements table has ``run``, ``case``, ``family``,
            ``row``, ``classes``, ``framework``, ``implementation``, ``formula``, ``dtype``, ``device``, ``mode``,
            ``version``, ``quantity`` and ``grade``. A sweep also has its ``axis``, and the value ``along`` it. With
            either of these, only the rows of sweeps count.

    Returns:
        A line for each group, with the columns of ``by`` and these:

        - ``rows``: the number of graded rows.
        - ``failed``, ``uncounted``: shares of the rows.
        - ``counted``: the number of the remaining rows.
        - ``median``, ``p90``, ``p99``, ``largest``: in ulp. Quantiles are interpolated linearly, as by pandas.
        - ``beyond 1``, ``beyond 10``, ``beyond 1000``: the shares of errors beyond this many ulp.
        - ``bias``: for the loss, the mean of ``signed_ulp`` over errors of at most 1,000 ulp.
        - ``too large``, ``too small``: the shares of positive and negative errors among these.
        - ``zeroed``: the share of entries that came out 0 although the exact entry rounds to another number.

        ``zeroed`` is missing for gradients that have another number of entries than classes.

    Raises:
        UsageError: for anything but measurements, a folder that is not a run, a damaged part, or an unknown column.
    """
    keys = list(dict.fromkeys(arguments.as_strings(by, "by")))
    if not keys or any(k not in GROUPS for k in keys):
        wrong = next((repr(k) for k in keys if k not in GROUPS), "no column")
        raise UsageError(f"cannot group by {wrong}; choose from {', '.join(GROUPS)}")
    return distribution(_measurements(measurements), keys)


def _measurements(given: pd.DataFrame | Path | str) -> Measurements:
    if isinstance(given, pd.DataFrame):
        lacking = [c for c in NEEDED if c not in given]
        if lacking:
            raise UsageError(f"the table has no column {', '.join(lacking)}; give the whole table of a run")
        return Measurements.of(given)
    whole, damaged = Run(arguments.as_path(given, "measurements", "a table or the folder of a run")).whole_parts()
    if damaged:
        raise UsageError(damaged[0])
    return Measurements.of_parts([whole])


def statistics_of(quantity: str) -> list[str]:
    """Return the statistics that a quantity has."""
    absent = (BIAS, TOO_LARGE, TOO_SMALL) * (quantity != Quantity.LOSS) + (ZEROED,) * (quantity not in _HAS_ENTRIES)
    return [name for name in STATISTICS if name not in absent]


def by_cell(found: Measurements, quantities: Sequence[str]) -> pd.DataFrame:
    """Return the distributions of each cell and quantity."""
    return in_order(found.cells, distribution(found, [*CELL, "quantity"], _of(quantities)))


def by_family(found: Measurements, quantities: Sequence[str]) -> pd.DataFrame:
    """Return the distributions of each family of cases, over all implementations of a formula."""
    keys = ["dtype", "mode", "device", "quantity", "family", "formula"]
    return in_order(found.cells, distribution(found, keys, _of(quantities)))


def by_axis(found: Measurements, axis: str, condition: str = "true") -> pd.DataFrame:
    """Return the distributions along the axis of a sweep, over all implementations of a formula.

    ``condition`` is SQL that is true of the rows.
    """
    keys = ["dtype", "mode", "device", "quantity", "formula", "along"]
    which = f"family = {quoted(f'{PREFIX}{axis}')} AND {_of(DRAWN)} AND {condition}"
    table = distribution(found, keys, which).sort_values("along", kind="stable")
    return in_order(found.cells, table).rename(columns={"along": axis})


def _of(quantities: Sequence[str]) -> str:
    return f"quantity IN ({', '.join(quoted(q) for q in quantities)})"


def in_words_of(table: pd.DataFrame) -> list[str]:
    """Return ``0.5 / 3.2 / 410`` for each line of a distribution: the median and the other quantiles."""
    return [
        "" if pd.isna(line[0]) else " / ".join(f"{value:.2g}" for value in line)
        for line in table[list(QUANTILES)].itertuples(index=False)
    ]
