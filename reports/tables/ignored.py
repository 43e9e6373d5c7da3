"""What implementations do with ignored rows that have no softmax, and where no row counts.

Neither is graded. The cases are those of the catalogue's family ``ignored`` whose other rows are plain, so that what
goes wrong beside the ignored row comes from it.
"""

from __future__ import annotations

import pandas as pd

from ...core.vocabulary import Conduct, Reach, Verdict
from ...storage.querying import Measurements
from .ordering import CELL, in_order, pairs, without_categories

IGNORED_ROW = 1  # of the three rows of each case
KINDS = {"NaN": "nan_row", "-inf": "masked_row", "+inf": "infinite_row"}
ROWS = {f"ignored/{name}_{r}": kind for kind, name in KINDS.items() for r in ("none", "mean")}
NONE_COUNTS = {f"ignored/all_{r}": f"none counts, {r}" for r in ("none", "sum", "mean")}
OTHERS, REDUCED, VERDICT = "NaN in other rows", "NaN in the mean", "verdict"
# The gravest first; "correct" where an ignored row counts nothing, whatever is in it.
GRAVEST_FIRST = ("nan", "overflow", "swallowed", "wrong_sign", "lost", "underflow", "inaccurate", "correct")
_QUANTITIES = ("loss", "gradient")
_WANTED = [
    *CELL, "case", "row", "quantity", "status", "verdict", "value", "n_nan", "n_posinf", "n_neginf", "max_abs"
]  # fmt: skip


def ignored_rows(measurements: Measurements | pd.DataFrame) -> pd.DataFrame:
    """What each implementation, mode, device and dtype does with ignored rows; one line for each that takes them.

    Returns:
        `CELL`; for an ignored row with NaN, of nothing but -inf, and with +inf the columns ``<kind> loss`` and
        ``<kind> gradient``; for a batch of which no row counts ``none counts, <reduction> loss`` and ``... gradient``.
        Each holds a `Conduct`, the worst of the rows: right is ``zero``, and a mean over nothing has no right value.
        ``NaN in other rows`` and ``NaN in the mean`` tell whether the ignored row made those NaN, and ``verdict`` is
        the gravest of the ignored rows, ``nan`` too where NaN came out elsewhere; missing where nothing came out.
    """
    found = Measurements.of(measurements)
    named = ", ".join(f"'{case}'" for case in (*ROWS, *NONE_COUNTS))
    quantities = ", ".join(f"'{quantity}'" for quantity in _QUANTITIES)
    which = f"\"case\" IN ({named}) AND quantity IN ({quantities}) AND status <> 'unsupported'"
    lines = without_categories(found.frame(_WANTED, which))
    if lines.empty:
        return lines[CELL]
    lines = lines.assign(conduct=_conducts(lines), kind=lines["case"].map(ROWS | NONE_COUNTS).astype(object))
    own = lines[(lines["row"] == IGNORED_ROW) & lines["case"].isin(ROWS)]
    whole = lines[lines["case"].isin(NONE_COUNTS)]
    table = _worst_conducts(pd.concat([own, whole]))
    beside = lines[(lines["row"] != IGNORED_ROW) & lines["case"].isin(ROWS)]
    nan = beside[beside["conduct"] == Conduct.NAN]
    for name, of in ((OTHERS, nan[nan["row"] >= 0]), (REDUCED, nan[nan["row"] < 0])):
        table[name] = table.index.isin(pd.MultiIndex.from_frame(of[CELL]))
    spread = table[OTHERS] | table[REDUCED]
    table[VERDICT] = _worst_verdicts(own).reindex(table.index).mask(spread, Verdict.NAN.value)
    return in_order(found.cells, table.reset_index())


def _conducts(lines: pd.DataFrame) -> list[Conduct]:
    """What came out in each line, from its numbers."""
    infinite = (lines["n_posinf"].fillna(0) + lines["n_neginf"].fillna(0)) > 0
    # Of a loss the value is kept; of a gradient its distance from 0, where 0 is right.
    size = lines["value"].where(lines["quantity"] == "loss", lines["max_abs"])
    return [
        Conduct.of_status(status) or _conduct(n_nan > 0, is_infinite, number)
        for status, n_nan, is_infinite, number in zip(
            lines["status"], lines["n_nan"].fillna(0), infinite, size, strict=True
        )
    ]


def _conduct(is_nan: bool, is_infinite: bool, number: float) -> Conduct:
    if is_nan or is_infinite:
        return Conduct.NAN if is_nan else Conduct.INFINITY
    return Conduct.FINITE if pd.isna(number) else Conduct.ZERO if number == 0 else Conduct.NUMBER


def _worst_conducts(lines: pd.DataFrame) -> pd.DataFrame:
    """A line for each cell, a column for each kind of row and quantity."""
    rank = {each: i for i, each in enumerate(Conduct)}
    keyed = lines.assign(rank=lines["conduct"].map(rank)).sort_values("rank", kind="stable")
    table = keyed.drop_duplicates([*CELL, "kind", "quantity"], keep="last").pivot(
        index=CELL, columns=["kind", "quantity"], values="conduct"
    )
    table.columns = pd.Index([f"{kind} {quantity}" for kind, quantity in pairs(table)])
    wanted = [f"{kind} {quantity}" for kind in (*KINDS, *NONE_COUNTS.values()) for quantity in _QUANTITIES]
    return table[[name for name in wanted if name in table]].astype(object)


def _worst_verdicts(own: pd.DataFrame) -> pd.Series:
    known = own[own["verdict"].isin(GRAVEST_FIRST)]
    rank = known["verdict"].map(GRAVEST_FIRST.index).groupby([known[c] for c in CELL], sort=False).min()
    return rank.map(GRAVEST_FIRST.__getitem__)


def in_brief(table: pd.DataFrame) -> pd.DataFrame:
    """The table in words: loss and gradient in one column, and one line for dtypes that are alike."""
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
    """The implementations that let NaN from an ignored row through, in any dtype or mode, by how far it reaches.

    The row's own loss and gradient are looked at in every case of the run, the user's too: there only an ignored row
    has a verdict and no grade.
    """
    found = Measurements.of(measurements)
    own = found.sql(
        """SELECT implementation, quantity, min(place) AS place FROM measurements
        WHERE status = 'ok' AND grade IS NULL AND verdict = 'nan' AND quantity IN ('loss', 'gradient')
        GROUP BY implementation, quantity ORDER BY place"""
    )
    table = ignored_rows(found)
    reached = {
        Reach.LOSS: own[own["quantity"] == "loss"]["implementation"],
        Reach.GRADIENT: own[own["quantity"] == "gradient"]["implementation"],
    }
    if len(table):
        reached |= {Reach.OTHER_ROWS: table[table[OTHERS]]["implementation"]}
        reached |= {Reach.REDUCED_LOSS: table[table[REDUCED]]["implementation"]}
    return {where: tuple(dict.fromkeys(map(str, names))) for where, names in reached.items() if len(names)}


def describe_nan(measurements: Measurements | pd.DataFrame) -> list[str]:
    """A sentence for each place that NaN from an ignored row reaches, with the implementations."""
    return [
        f"NaN from an ignored row reaches {where}: {', '.join(names)}"
        for where, names in lets_nan_through(measurements).items()
    ]
