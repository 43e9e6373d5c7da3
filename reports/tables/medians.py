"""Exact medians and quantiles of more numbers than memory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from ...storage.querying import Measurements

# Veltkamp's splitting (1968; Boldo 2006, "Pitfalls of a full floating-point proof") rounds a number to 8 bits with this
# factor. Rounding keeps the order of numbers, and a column has at most a few thousand distinct rounded values.
_SPLIT = 2**45 + 1
_LARGEST = "1e290"  # the product must not overflow


class Quantile(NamedTuple):
    """A quantile to compute: a number as SQL, and the share of the numbers below the quantile, from 0 to 1."""

    number: str
    share: float


def medians(found: Measurements, keys: Sequence[str], columns: Mapping[str, str], rows: str) -> pd.DataFrame:
    """Return the medians of columns for each group, as pandas computes them, without missing numbers.

    Args:
        found: the measurements.
        keys: the columns of ``rows`` that name a group.
        columns: the name of each median, and its number as SQL.
        rows: SQL of the rows.

    Returns:
        A line for each group with numbers: ``keys`` and a column for each median.
    """
    table = _neighbours(found, keys, [Quantile(number, 0.5) for number in columns.values()], rows)
    middle = (table["lower"] + table["upper"]) / 2
    return _wide(table, keys, table["lower"].where(table["lower"] == table["upper"], middle), list(columns))


def quantiles(found: Measurements, keys: Sequence[str], columns: Mapping[str, Quantile], rows: str) -> pd.DataFrame:
    """Return quantiles for each group by linear interpolation, without missing numbers. The numbers must be finite.

    The quantile of the share q among n numbers in order is at the place ``q (n - 1)``, from 0. Between two numbers it
    is on the straight line through them, as DuckDB's ``quantile_cont`` and the default of pandas have it.

    Args:
        found: the measurements.
        keys: the columns of ``rows`` that name a group.
        columns: the name of each quantile, and its definition.
        rows: SQL of the rows.

    Returns:
        A line for each group with numbers: ``keys`` and a column for each quantile.
    """
    table = _neighbours(found, keys, list(columns.values()), rows)
    between = table["lower"] + (table["upper"] - table["lower"]) * table["fraction"]
    return _wide(table, keys, between, list(columns))


def _wide(table: pd.DataFrame, keys: Sequence[str], values: pd.Series[float], names: Sequence[str]) -> pd.DataFrame:
    wide = table.assign(value=values).pivot(index=list(keys), columns="which", values="value")
    return wide.reindex(columns=range(len(names))).set_axis(list(names), axis=1).reset_index()


def _neighbours(found: Measurements, keys: Sequence[str], wanted: Sequence[Quantile], rows: str) -> pd.DataFrame:
    """Return the numbers on both sides of each quantile, and the place between them.

    Numbers are counted in buckets first; only those that share a bucket with a neighbour are kept in memory.

    Returns:
        A line for each group and quantile: ``keys``, ``which`` quantile, ``lower``, ``upper`` and ``fraction``.
    """
    numbers, groups = list(dict.fromkeys(q.number for q in wanted)), ", ".join(f'"{k}"' for k in keys)
    places = ", ".join(f"({i}, {numbers.index(q.number)}, {q.share!r}::DOUBLE)" for i, q in enumerate(wanted))
    bounded = f"greatest(least(x, {_LARGEST}), -{_LARGEST})"
    long = " UNION ALL ".join(
        f"SELECT {groups}, {i} AS source, CAST({number} AS DOUBLE) AS x FROM ({rows}) WHERE ({number}) IS NOT NULL"
        for i, number in enumerate(numbers)
    )
    return found.sql(
        f"""
        WITH wanted AS (
            SELECT * FROM (VALUES {places}) AS t (which, source, share)
        ), numbers AS NOT MATERIALIZED (
            SELECT *, {bounded} * {_SPLIT} - ({bounded} * {_SPLIT} - {bounded}) AS bucket FROM ({long})
        ), counted AS (
            SELECT {groups}, source, bucket, count(*) AS n FROM numbers GROUP BY ALL
        ), placed AS (
            SELECT *, sum(n) OVER (PARTITION BY {groups}, source) AS whole,
                sum(n) OVER (PARTITION BY {groups}, source ORDER BY bucket) - n AS before
            FROM counted
        ), close AS (
            SELECT DISTINCT {groups}, source, bucket, whole, before FROM placed JOIN wanted USING (source)
            WHERE before <= ceil((whole - 1)::DOUBLE * share) AND before + n > floor((whole - 1)::DOUBLE * share)
        ), distinct_numbers AS (
            SELECT {groups}, source, x, whole, before, count(*) AS n
            FROM numbers JOIN close USING ({groups}, source, bucket) GROUP BY ALL
        ), ranked AS (
            SELECT *, before + sum(n) OVER (PARTITION BY {groups}, source, before ORDER BY x) AS upto
            FROM distinct_numbers
        ), aimed AS (
            SELECT *, (whole - 1)::DOUBLE * share AS place FROM ranked JOIN wanted USING (source)
        )
        SELECT {groups}, which, any_value(place - floor(place)) AS fraction,
            min(x) FILTER (upto > floor(place)) AS lower, min(x) FILTER (upto > ceil(place)) AS upper
        FROM aimed GROUP BY {groups}, which
        """
    )
