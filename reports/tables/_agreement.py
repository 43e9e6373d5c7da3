"""Agreement of modes with eager, of devices with the CPU, and of implementations with each other.

Two results are *equal* if they have the same bits; all NaN count as the same. Otherwise their distance is the
difference of the losses in ulp of the dtype at the exact loss, and infinite if only one of them is finite.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...core.formats import DTYPES, in_table_order
from ...storage.querying import Measurements
from .bounds import define_spacing
from .ordering import CELL, KEYS, in_order

NEAR = (1.0, 10.0)  # ulp
MARK = "+"  # before the variant of a mode
KEY = 32  # bits of a row in a number of its case and itself


# Numbers for cells, cases and rows keep the table of compared lines small.
_AGAINST = f"""
    WITH done AS (
        SELECT sides.number AS cell, dtype, (cases.number << {KEY}) + row + 1 AS key, quantity, out_dtype, bits,
            grade, value, exact, place
        FROM measurements JOIN sides USING ({KEYS}) JOIN cases USING ("case") WHERE status = 'ok'
    ), ours AS (
        SELECT done.*, base FROM done JOIN sides ON cell = sides.number WHERE base IS NOT NULL
    ), theirs AS (
        SELECT cell AS base, key, quantity, out_dtype, bits, grade, value FROM done
        WHERE cell IN (SELECT base FROM sides)
    ), compared AS (
        SELECT ours.cell, quantity, key, place,
            coalesce(ours.bits <> theirs.bits, false) OR coalesce(ours.out_dtype <> theirs.out_dtype, false)
                AS different,
            coalesce(ours.grade > theirs.grade, false) AS worse,
            coalesce(ours.grade < theirs.grade, false) AS better,
            CASE WHEN quantity = 'loss' THEN apart(ours.value, theirs.value, spacing(ours.exact, dtype)) END
                AS largest
        FROM ours JOIN theirs USING (base, key, quantity)
    ), ordered AS (
        SELECT *, (NOT worse, coalesce(-largest, 'infinity'), NOT different, place) AS worst_first FROM compared
    ), counted AS (
        SELECT cell, quantity, count(*) AS rows,
            count(*) FILTER (different) AS different, count(*) FILTER (worse) AS worse,
            count(*) FILTER (better) AS better, max(largest) AS largest,
            arg_min(key, worst_first) FILTER (different) AS key, min(worst_first) AS first
        FROM ordered GROUP BY cell, quantity
    )
    SELECT {KEYS}, quantity, rows, different, worse, better, largest, "case"
    FROM counted JOIN sides ON cell = sides.number LEFT JOIN cases ON cases.number = key >> {KEY} ORDER BY first
"""


def against(measurements: Measurements | pd.DataFrame, column: str, base: str) -> pd.DataFrame:
    """Compare the results of each cell and quantity with those of another mode or device.

    Args:
        measurements: those of a run.
        column: ``mode`` or ``device``.
        base: the mode or device to compare with; a variant of a mode is compared with that mode.

    Returns:
        Columns `CELL`, ``quantity`` and ``rows``. ``different`` counts the rows whose bits differ, ``worse`` and
        ``better`` those whose grade differs. ``largest`` is the largest distance of two losses in ulp. ``case`` is the
        case of that distance, preferably with a worse grade.
    """
    found = comparable(measurements)
    if set(found.cells[column]) <= {base}:
        return pd.DataFrame(columns=[*CELL, "quantity", "rows", "different", "worse", "better", "largest", "case"])
    return in_order(found.cells, found.sql(_AGAINST, sides=_sides(found.cells[CELL], column, base)))


def _sides(cells: pd.DataFrame, column: str, base: str) -> pd.DataFrame:
    """The cells with a ``number``, and as ``base`` the number of the cell to compare with, if there is one."""
    numbered = cells.assign(number=range(len(cells)))
    against = [v.partition(MARK)[0] if MARK in v else base for v in numbered[column]]
    asked = numbered.assign(**{column: against}).drop(columns="number")
    others = asked.merge(numbered, on=CELL, how="left")["number"].astype("Int64")
    return numbered.assign(base=others.where(numbered[column] != base))


def comparable(source: Measurements | pd.DataFrame) -> Measurements:
    """The measurements, with the SQL functions and tables that the queries here need."""
    found = Measurements.of(source)
    define_spacing(found)
    # A missing loss is NaN, and two NaN losses are equal.
    found.run(
        """CREATE OR REPLACE TEMP MACRO apart(one, other, spacing) AS CASE
            WHEN one IS NOT DISTINCT FROM other THEN 0.0::DOUBLE
            WHEN isfinite(one) AND isfinite(other) THEN abs(one - other) / spacing
            ELSE 'infinity'::DOUBLE END"""
    )
    found.run(
        """CREATE TEMP TABLE IF NOT EXISTS cases AS
        SELECT "case", row_number() OVER (ORDER BY min(place)) AS number FROM measurements GROUP BY "case\""""
    )
    return found


class Losses(NamedTuple):
    """The losses of one dtype in eager mode on the run's first device, for rows with an exact answer.

    They are in the temporary table ``table`` with the columns ``key``, ``i``, ``value``, ``spacing`` and ``place``.
    ``key`` is a case and row, see `KEY`; ``i`` is the index of the implementation in ``names``; ``spacing`` is an ulp
    at the exact loss.
    """

    found: Measurements
    dtype: str
    names: list[str]
    table: str


_LOSS = "mode = 'eager' AND quantity = 'loss' AND status = 'ok' AND verdict IS DISTINCT FROM 'undefined'"


def losses(measurements: Measurements | pd.DataFrame) -> tuple[Losses, ...]:
    """Return the losses of each dtype; those of the four usual dtypes may be empty."""
    found = comparable(measurements)
    of_cells = found.sql(
        f"""SELECT dtype, device, implementation, min(place) AS first
        FROM measurements WHERE {_LOSS} GROUP BY dtype, device, implementation ORDER BY first"""
    )
    dtypes = in_table_order([*DTYPES, *of_cells["dtype"]])
    return tuple(_of_dtype(found, dtype, of_cells[of_cells["dtype"] == dtype]) for dtype in dtypes)


def _of_dtype(found: Measurements, dtype: str, cells: pd.DataFrame) -> Losses:
    """``cells`` are the cells with a loss in the dtype, in the order of the run."""
    devices = list(cells["device"].head(1))
    names = list(cells[cells["device"].isin(devices)]["implementation"])
    table = f'"losses_{dtype}"'  # a described format has hyphens
    places = pd.DataFrame({"implementation": pd.Series(names, dtype=object), "i": range(len(names))})
    found.sql(
        # A row with options has the exact loss of the definition that an implementation documents. Implementations with
        # another definition than most are left out. A plain row, which has bounds, has one exact loss for all.
        f"""CREATE OR REPLACE TEMP TABLE {table} AS
        WITH usual AS (
            SELECT "case", row, mode(exact) AS usual FROM measurements
            WHERE {_LOSS} AND dtype = '{dtype}' AND bound_shifted IS NULL
            GROUP BY "case", row HAVING min(exact) < max(exact)
        )
        SELECT (number << {KEY}) + row + 1 AS key, i::SMALLINT AS i, value, spacing(exact, dtype) AS spacing, place
        FROM measurements JOIN cases USING ("case") JOIN places USING (implementation)
            LEFT JOIN usual USING ("case", row)
        WHERE {_LOSS} AND dtype = '{dtype}' AND device IN (SELECT device FROM devices)
            AND (usual IS NULL OR exact = usual)""",
        places=places,
        devices=pd.DataFrame({"device": pd.Series(devices, dtype=object)}),
    )
    return Losses(found, dtype, names, table)


def agreement(of_dtypes: Sequence[Losses]) -> pd.DataFrame:
    """Return the row of each case and dtype on which the implementations' losses are farthest apart.

    Returns:
        ``case``, ``dtype`` and ``row``. ``implementations`` is how many returned a loss, ``answers`` how many losses
        differ. ``apart`` is the largest distance of two finite losses in ulp, and ``lowest`` and ``highest`` name their
        implementations. ``not finite`` names implementations whose loss is not finite although another's is.
    """
    tables = [_farthest(one) for one in of_dtypes]
    return pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)


def _farthest(one: Losses) -> pd.DataFrame:
    lines = one.found.sql(
        f"""
        WITH rows AS (
            SELECT key, min(place) AS first, arg_min(spacing, place) AS spacing, count(*) AS given,
                count(*) FILTER (isfinite(value)) AS finite,
                min(value) FILTER (isfinite(value)) AS low, max(value) FILTER (isfinite(value)) AS high
            FROM {one.table} GROUP BY key
        ), measured AS (
            SELECT key, first, CASE WHEN finite > 0 THEN given - finite ELSE 0 END AS broken,
                CASE WHEN finite > 0 THEN apart(low, high, spacing) ELSE 0.0 END AS apart
            FROM rows
        ), worst AS (
            SELECT unnest(arg_min(struct_pack(key, apart, first), (-broken, -apart, first)))
            FROM measured GROUP BY key >> {KEY}
        )
        SELECT "case", CAST(key & {2**KEY - 1} AS INTEGER) - 1 AS row, apart, i, value
        FROM {one.table} JOIN worst USING (key) JOIN cases ON number = key >> {KEY} ORDER BY first, place
        """
    )
    rows = lines.drop_duplicates("case")
    v = np.full((len(rows), len(one.names)), np.nan)
    given = np.zeros(v.shape, bool)
    place = pd.Index(rows["case"]).get_indexer(pd.Index(lines["case"])), lines["i"].to_numpy()
    v[place], given[place] = lines["value"], True
    finite = np.isfinite(v)
    some = np.logical_or.reduce(finite, axis=1)
    names = np.array(one.names, object)
    table = rows[["case"]].assign(
        dtype=one.dtype,
        row=rows["row"],
        implementations=given.sum(axis=1),
        answers=[len(set(map(str, line[there]))) for line, there in zip(v, given, strict=True)],
        apart=rows["apart"],
        lowest="",
        highest="",
    )
    table["not finite"] = [", ".join(names[line]) for line in given & ~finite & some[:, None]]
    if some.any():
        at = table.index[some]
        table.loc[at, "lowest"] = names[np.where(finite, v, np.inf)[some].argmin(axis=1)]
        table.loc[at, "highest"] = names[np.where(finite, v, -np.inf)[some].argmax(axis=1)]
    return table


def pairs(of_dtypes: Sequence[Losses]) -> pd.DataFrame:
    """Return for each pair of implementations and dtype how many rows both measured, and how the losses compare.

    The losses are equal, within `NEAR` ulp of each other, or farther apart.
    """
    counts = ["rows", "equal", *(f"within {n:g} ulp" for n in NEAR), "apart"]
    limits = ", ".join(f"count(*) FILTER (apart <= {n})" for n in (0, *NEAR))
    lines: list[tuple[object, ...]] = []
    for one in of_dtypes:
        counted = one.found.sql(
            f"""SELECT i, j, count(*), {limits}, count(*) FILTER (apart > {NEAR[-1]}) FROM (
                SELECT a.i, b.i AS j, apart(a.value, b.value, a.spacing) AS apart
                FROM {one.table} a JOIN {one.table} b ON a.key = b.key AND a.i < b.i
            ) GROUP BY ALL"""
        )
        known = {(i, j): of_pair for i, j, *of_pair in counted.itertuples(index=False)}
        for i, j in combinations(range(len(one.names)), 2):
            lines.append((one.dtype, one.names[i], one.names[j], *known.get((i, j), [0] * len(counts))))
    return pd.DataFrame(lines, columns=["dtype", "one", "other", *counts])


def identical(of_pairs: pd.DataFrame) -> pd.DataFrame:
    """Return for each dtype the groups of implementations whose losses are equal on every common row of each pair."""
    found = []
    for dtype, table in of_pairs.groupby("dtype", sort=False):
        alike = table[(table["rows"] > 0) & (table["equal"] == table["rows"])]
        equal = set(zip(alike["one"], alike["other"], strict=True))
        groups: list[list[str]] = []
        for name in pd.unique(pd.concat([table["one"], table["other"]])):
            home = next((g for g in groups if all((member, name) in equal for member in g)), None)
            if home is None:
                groups.append(home := [])
            home.append(name)
        found += [(dtype, len(g), ", ".join(g)) for g in groups if len(g) > 1]
    return pd.DataFrame(found, columns=["dtype", "implementations", "with the same losses, bit for bit"])
