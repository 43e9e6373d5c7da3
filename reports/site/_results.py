"""The result of each cell on each row of each case, with all quantities in one line: the SQL table ``results``."""

import pandas as pd

from ...core.vocabulary import SOUND, Quantity
from ...storage.querying import Measurements
from ...storage.schema import WORDS
from ..tables.errors import LISTED
from ..tables.ordering import CELL, KEYS

# The loss decides before the gradients, and these before the probabilities.
QUANTITIES = (*LISTED, Quantity.PROBABILITIES.value)
_KEYS = f'"case", family, row, formula, {KEYS}'
# The columns of each quantity in a page's table: its grade, and its error if it is listed.
GRADED = (*(name for q in LISTED for name in (q, f"{q} ulp")), Quantity.PROBABILITIES.value)
_WORDS = {*WORDS, *QUANTITIES, "stage"}
# Grades are letters in the order of the alphabet: the worst is the largest.
_WORST = "max_by({}, (coalesce(grade, ''), fault, -quantity_place, -place))"
_OF_QUANTITIES = ", ".join(
    f"""any_value(grade) FILTER (quantity = '{q}') AS {q}, any_value(max_ulp) FILTER (quantity = '{q}') AS "{q} ulp\""""
    for q in QUANTITIES
)
_COLUMNS = ", ".join(f'{q}, "{q} ulp"' for q in QUANTITIES)
_LARGEST = ", ".join(f'"{q} ulp"' for q in LISTED)
_CREATE = f"""
    CREATE TEMP TABLE IF NOT EXISTS results AS
    WITH lines AS (
        SELECT *, list_position({list(QUANTITIES)}, quantity) AS quantity_place,
            grade IS NULL AND coalesce(verdict NOT IN {SOUND}, false) AS fault
        FROM measurements
    ), rows AS (
        SELECT {_KEYS}, {_OF_QUANTITIES},
            any_value(value) FILTER (quantity = 'loss') AS value, any_value(exact) FILTER (quantity = 'loss') AS exact,
            coalesce(bool_or(status = 'ok') FILTER (quantity = 'loss'), false) AS given, max(grade) AS grade,
            {_WORST.format("struct_pack(status, verdict, stage := first_failure, detail)")} AS worst,
            min((quantity_place, place)) AS first
        FROM lines GROUP BY ALL
    ), numbered AS (
        SELECT {_KEYS}, {_COLUMNS}, value, exact, given, grade, worst.status, worst.verdict, worst.stage, worst.detail,
            row_number() OVER (ORDER BY first) AS number
        FROM rows
    )
    SELECT *, row_number() OVER (
        PARTITION BY "case", {KEYS}
        ORDER BY grade DESC NULLS LAST, greatest({_LARGEST}) DESC NULLS LAST, number
    ) AS rank
    FROM numbered ORDER BY number
"""


def define_results(found: Measurements) -> None:
    """Create the table ``results``: one line for each case row and cell.

    Its columns, after those that name the row and cell:

    - ``value`` and ``exact`` of the loss, and ``given``, whether the call returned a loss;
    - for each quantity its grade ``<quantity>`` and its error ``<quantity> ulp``;
    - ``grade``, the worst of the grades, with ``status``, ``verdict``, ``stage`` (of the first failure) and ``detail``
      of that quantity. Without a grade they are those of a quantity whose verdict names a fault, if any;
    - ``number``, the order of the lines, and ``rank``, 1 for the worst row of a case in a cell.

    A reduced loss is row -1, on another line than the rows of its gradient.
    """
    found.run(_CREATE)


def results(found: Measurements, condition: str = "true", order: str = "number") -> pd.DataFrame:
    """Return the lines of ``results`` that meet an SQL condition, in this order, with words as categories."""
    define_results(found)
    table = found.sql(f"SELECT * FROM results WHERE {condition} ORDER BY {order}")
    return table.astype(dict.fromkeys((c for c in table if c in _WORDS), "category"))


def shares_by_family(found: Measurements) -> pd.DataFrame:
    """Return the share of graded rows that are not F, between 0 and 1, by cell (line) and family (column)."""
    define_results(found)
    shares = found.sql(
        f"""SELECT {KEYS}, family, avg((grade <> 'F')::INTEGER) AS share
        FROM results WHERE grade IS NOT NULL GROUP BY {KEYS}, family ORDER BY min(number)"""
    )
    wide = shares.pivot_table(index=CELL, columns="family", values="share", sort=False)
    wide = wide[[family for family in found.families if family in wide]]
    wide.columns.name = None
    return wide.reset_index()
