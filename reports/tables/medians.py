"""Exact medians of more numbers than memory holds."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ...storage.querying import Measurements

# Veltkamp's splitting (1968; Boldo 2006, "Pitfalls of a full floating-point proof") rounds a number to 8 bits with this
# factor. Rounding keeps the order of numbers, and a column has at most a few thousand distinct rounded values.
_SPLIT = 2**45 + 1
_LARGEST = "1e290"  # the product must not overflow


def medians(found: Measurements, keys: Sequence[str], columns: Mapping[str, str], rows: str) -> pd.DataFrame:
    """Return the medians of columns for each group, as pandas computes them, without missing numbers.

    Numbers are counted in buckets first; only those that share a bucket with a median are kept in memory.

    Args:
        found: the measurements.
        keys: the columns of ``rows`` that name a group.
        columns: the name of each median, and its number as SQL.
        rows: SQL of the rows.

    Returns:
        A line for each group with numbers: ``keys`` and a column for each median.
    """
    names, groups = list(columns), ", ".join(f'"{k}"' for k in keys)
    bounded = f"greatest(least(x, {_LARGEST}), -{_LARGEST})"
    long = " UNION ALL ".join(
        f"SELECT {groups}, {i} AS which, CAST({number} AS DOUBLE) AS x FROM ({rows}) WHERE ({number}) IS NOT NULL"
        for i, number in enumerate(columns.values())
    )
    table = found.sql(
        f"""
        WITH numbers AS NOT MATERIALIZED (
            SELECT *, {bounded} * {_SPLIT} - ({bounded} * {_SPLIT} - {bounded}) AS bucket FROM ({long})
        ), counted AS (
            SELECT {groups}, which, bucket, count(*) AS n FROM numbers GROUP BY ALL
        ), placed AS (
            SELECT *, sum(n) OVER (PARTITION BY {groups}, which) AS whole,
                sum(n) OVER (PARTITION BY {groups}, which ORDER BY bucket) - n AS before
            FROM counted
        ), middle AS (
            SELECT {groups}, which, bucket, whole, before FROM placed
            WHERE before <= whole // 2 AND before + n > (whole - 1) // 2
        ), close AS (
            SELECT {groups}, which, x, whole, before, count(*) AS n
            FROM numbers JOIN middle USING ({groups}, which, bucket) GROUP BY ALL
        ), ranked AS (
            SELECT *, before + sum(n) OVER (PARTITION BY {groups}, which, before ORDER BY x) AS upto FROM close
        )
        SELECT {groups}, which,
            min(x) FILTER (upto > (whole - 1) // 2) AS lower, min(x) FILTER (upto > whole // 2) AS upper
        FROM ranked GROUP BY ALL
        """
    )
    table["median"] = table["lower"].where(table["lower"] == table["upper"], (table["lower"] + table["upper"]) / 2)
    wide = table.pivot(index=list(keys), columns="which", values="median").reindex(columns=range(len(names)))
    return wide.set_axis(names, axis=1).reset_index()
