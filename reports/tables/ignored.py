"""Results for ignored rows without a softmax, and for batches in which every row is ignored.

Neither has a grade. The cases are those of the catalogue's families ``ignored`` and ``linear_ignored`` whose other rows
are plain: a fault in another row comes from the ignored row. A gradient by hidden states counts as the row's gradient.
"""

import pandas as pd

from ...core.vocabulary import STATUSES, Conduct, Reach, Verdict
from ...storage.querying import Measurements
from .ordering import CELL, KEYS, in_order

IGNORED_ROW = 1  # of the three rows of each case
KINDS = {"NaN": "nan_row", "-inf": "masked_row", "+inf": "infinite_row"}
ROWS = {f"ignored/{name}_{r}": kind for kind, name in KINDS.items() for r in ("none", "mean")}
ROWS |= {f"linear_ignored/nan_row_{r}": "NaN" for r in ("none", "mean")}
NONE_COUNTS = {f"ignored/all_{r}": f"none counts, {r}" for r in ("none", "sum", "mean")}
OTHERS, REDUCED, VERDICT = "NaN in other rows", "NaN in the mean", "verdict"
# The gravest first; "correct" means that the ignored row has no effect.
GRAVEST_FIRST = ("nan", "overflow", "swallowed", "wrong_sign", "lost", "underflow", "inaccurate", "correct")
_QUANTITIES = ("loss", "gradient")
_OF_STATUS = " ".join(f"WHEN status = '{s}' THEN '{done}'" for s in STATUSES if (done := Conduct.of_status(s)))
# Of a loss the value is kept; of a gradient its distance from 0, where 0 is right.
_LINES = f"""
    WITH sizes AS (
        SELECT * REPLACE (replace(quantity, '_hidden', '') AS quantity),
            CASE quantity WHEN 'loss' THEN value ELSE max_abs END AS size
        FROM measurements JOIN kinds USING ("case")
        WHERE replace(quantity, '_hidden', '') IN {_QUANTITIES} AND status <> 'unsupported'
    ), lines AS (
        SELECT *, counts AND row = {IGNORED_ROW} AS own, CASE {_OF_STATUS} WHEN n_nan > 0 THEN '{Conduct.NAN}'
            WHEN n_posinf > 0 OR n_neginf > 0 THEN '{Conduct.INFINITY}' WHEN size IS NULL THEN '{Conduct.FINITE}'
            WHEN size = 0 THEN '{Conduct.ZERO}' ELSE '{Conduct.NUMBER}' END AS conduct
        FROM sizes
    )"""
_WORST = f"""{_LINES}
    SELECT {KEYS}, kind || ' ' || quantity AS what, max_by(conduct, list_position({list(map(str, Conduct))}, conduct))
        AS conduct
    FROM lines WHERE own OR NOT counts GROUP BY ALL"""
_SPREAD = f"""{_LINES}
    SELECT {KEYS}, coalesce(bool_or(conduct = 'NaN') FILTER (row >= 0 AND NOT own), false) AS "{OTHERS}",
        coalesce(bool_or(conduct = 'NaN') FILTER (row < 0), false) AS "{REDUCED}",
        min_by(verdict, list_position({list(GRAVEST_FIRST)}, verdict)) FILTER (own) AS {VERDICT}
    FROM lines WHERE counts GROUP BY ALL"""


def ignored_rows(measurements: Measurements | pd.DataFrame) -> pd.DataFrame:
    """Return the results for ignored rows, a line for each cell that supports them.

    Returns:
        The columns of `CELL`, then:

        - ``<kind> loss`` and ``<kind> gradient`` for an ignored row with NaN, with only -inf, and with +inf;
        - ``none counts, <reduction> loss`` and ``... gradient`` for a batch in which every row is ignored;
        - ``NaN in other rows`` and ``NaN in the mean``: whether the ignored row makes those NaN;
        - ``verdict``: the gravest of the ignored rows, ``nan`` also if NaN reaches another place; missing without a
          result.

        The first two hold the worst `Conduct` of the rows. ``zero`` is right; a mean over nothing has no right value.
    """
    found = Measurements.of(measurements)
    of_cases = [(case, kind, case in ROWS) for case, kind in (ROWS | NONE_COUNTS).items()]
    kinds = pd.DataFrame(of_cases, columns=["case", "kind", "counts"])  # whether some row of the case is not ignored
    worst = found.sql(_WORST, kinds=kinds)
    if worst.empty:
        return worst[CELL]
    table = worst.pivot(index=CELL, columns="what", values="conduct").rename_axis(columns=None)
    wanted = [f"{kind} {quantity}" for kind in (*KINDS, *NONE_COUNTS.values()) for quantity in _QUANTITIES]
    table = table[[name for name in wanted if name in table]]
    spread = found.sql(_SPREAD, kinds=kinds).set_index(CELL).reindex(table.index)
    for name in (OTHERS, REDUCED):
        table[name] = spread[name].eq(True)
    table[VERDICT] = spread[VERDICT].mask(table[OTHERS] | table[REDUCED], Verdict.NAN.value)
    return in_order(found.cells, table.reset_index())


def in_brief(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text: loss and gradient in one column, and one line for dtypes with the same results."""
    if table.empty:
        return table
    kinds = [k for k in (*KINDS, *NONE_COUNTS.values()) if f"{k} loss" in table]
    shown = table[[c for c in CELL if c != "dtype"]].copy()
    for kind in kinds:
        both = zip(table[f"{kind} loss"], table.get(f"{kind} gradient", table[f"{kind} loss"]), strict=True)
        shown[kind] = [_pair(loss, gradient) for loss, gradient in both]
    shown["NaN spreads to"] = [
        ", ".join(name for name, there in (("other rows", o), ("mean", r)) if there)
        for o, r in zip(table[OTHERS], table[REDUCED], strict=True)
    ]
    shown[VERDICT] = table[VERDICT].fillna("")
    words = list(shown.columns)
    merged = shown.assign(dtype=table["dtype"]).groupby(words, sort=False, dropna=False)["dtype"].agg(list)
    brief = merged.reset_index()
    every = list(dict.fromkeys(table["dtype"]))
    brief.insert(
        words.index("mode"), "dtypes", ["all" if len(d) == len(every) else ", ".join(d) for d in brief.pop("dtype")]
    )
    return brief


def _pair(loss: str | float, gradient: str | float) -> str:
    words = ["" if pd.isna(each) else str(each) for each in (loss, gradient)]
    return words[0] if words[0] == words[1] or not words[1] else " / ".join(words)


def lets_nan_through(measurements: Measurements | pd.DataFrame) -> dict[Reach, tuple[str, ...]]:
    """Return the implementations that let NaN from an ignored row through, in any dtype or mode, by its reach.

    The row's own loss and gradient are taken from every case of the run, even a user's: only an ignored row has a
    verdict without a grade.
    """
    found = Measurements.of(measurements)
    own = found.sql(
        """SELECT implementation, quantity, min(place) AS place FROM measurements
        WHERE status = 'ok' AND grade IS NULL AND verdict = 'nan'
        GROUP BY implementation, quantity ORDER BY place"""
    )
    table = ignored_rows(found)
    reached = {
        Reach.LOSS: own[own["quantity"] == "loss"]["implementation"],
        Reach.GRADIENT: own[own["quantity"].isin(["gradient", "gradient_hidden"])]["implementation"],
        Reach.WEIGHT: own[own["quantity"] == "gradient_weight"]["implementation"],
    }
    if len(table):
        reached |= {Reach.OTHER_ROWS: table[table[OTHERS]]["implementation"]}
        reached |= {Reach.REDUCED_LOSS: table[table[REDUCED]]["implementation"]}
    return {where: tuple(dict.fromkeys(map(str, names))) for where, names in reached.items() if len(names)}


def describe_nan(measurements: Measurements | pd.DataFrame) -> list[str]:
    """Return a sentence for each place that NaN from an ignored row reaches, with the implementations."""
    return [
        f"NaN from an ignored row reaches {where}: {', '.join(names)}"
        for where, names in lets_nan_through(measurements).items()
    ]
