"""What changed: the lines that two sides share, judged one by one, and what only one of them has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.vocabulary import GRADES
from ._join import within
from ._lines import CELL, KEY, STATUSES, WHOLE, Lines

# What can have changed, the gravest first; the first that applies stands for a line.
KINDS = (
    "cell gone", "case gone", "status changed", "newly not finite", "grade lost", "verdict lost", "error grown",
    "newly finite", "grade won", "verdict won", "error shrunk", "case changed", "bits changed", "cell new", "case new",
)  # fmt: skip
LEAST_ULP = 1.0  # an error that grew by no more is a rounding, whatever the factor
COLUMNS = [
    "change", *KEY, "before", "after", "before_ulp", "after_ulp", "factor", "regression", "improvement", "detail",
]  # fmt: skip
CASE_KEY = ["dtype", "case"]
_STOPS = (STATUSES.index("timeout"), STATUSES.index("crashed"))

Bools = NDArray[np.bool_]
_COMPARED = ("status", "grade", "wrong", "ulp", "known", "bits", "rows", "unsound")


def of_lines(both: pd.DataFrame, other: Bools, factor: float) -> pd.DataFrame:
    """The changes of the lines that both sides have; ``other`` marks those of a case that has changed."""
    kind, way = _judged(both, other, factor)
    hit = np.flatnonzero(kind >= 0)
    found = both.iloc[hit].reset_index(drop=True)
    before, after = found["ulp"].to_numpy(np.float64), found["ulp new"].to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = after / before
    changes = found[KEY].astype(dict.fromkeys(KEY[:-1], object))
    changes["row"] = changes["row"].astype("Int64").where(changes["row"] != WHOLE)
    return changes.assign(
        change=np.array(KINDS, object)[kind[hit]],
        before=_words(found, ""),
        after=_words(found, " new"),
        before_ulp=before,
        after_ulp=after,
        factor=quotient,
        regression=way[hit] < 0,
        improvement=way[hit] > 0,
        detail=found["detail new"].where(found["status new"] > 0).astype(object).fillna(""),
    )[COLUMNS]


def _judged(both: pd.DataFrame, other: Bools, factor: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each line the index of its kind, -1 where nothing changed, and which way: -1 worse, 1 better, 0 neither."""
    now, then = ({c: both[c + side].to_numpy() for c in _COMPARED} for side in (" new", ""))
    moved = now["status"] != then["status"]
    graded = (now["grade"] >= 0) & (then["grade"] >= 0)
    ungraded = (now["unsound"] >= 0) & (then["unsound"] >= 0)
    with np.errstate(invalid="ignore", over="ignore"):
        grown, shrunk = (_grown(*pair, factor) for pair in ((then["ulp"], now["ulp"]), (now["ulp"], then["ulp"])))
    bits = now["known"] & then["known"] & (now["bits"] != then["bits"])
    # The same rows judged under other rules, or fewer of them, are not the same case.
    unlike = other | (now["rows"] != then["rows"]) | (~moved & ((now["grade"] >= 0) != (then["grade"] >= 0)))
    rules: list[tuple[str, int, Any]] = [
        ("case changed", 0, unlike),
        ("status changed", -1, moved & _stopped(then, now)),
        ("status changed", 1, moved & _stopped(now, then)),
        ("status changed", 0, moved),
        ("newly not finite", -1, graded & (now["wrong"] > then["wrong"])),
        ("newly finite", 1, graded & (now["wrong"] < then["wrong"])),
        ("grade lost", -1, graded & (now["grade"] > then["grade"])),
        ("grade won", 1, graded & (now["grade"] < then["grade"])),
        ("verdict lost", -1, ungraded & (now["unsound"] > then["unsound"])),
        ("verdict won", 1, ungraded & (now["unsound"] < then["unsound"])),
        ("error grown", -1, graded & grown),
        ("error shrunk", 1, graded & shrunk),
        ("bits changed", 0, bits),
    ]
    masks = [mask for *_, mask in rules]
    kind = np.select(masks, [KINDS.index(name) for name, *_ in rules], -1)
    return kind, np.select(masks, [way for _, way, _ in rules], 0)


def _stopped(then: dict[str, Any], now: dict[str, Any]) -> Bools:
    """Whether what was ok no longer is. To refuse a row without a right answer is no loss, to hang or crash is."""
    mattered = (then["grade"] >= 0) | (then["unsound"] == 0) | np.isin(now["status"], _STOPS)
    stopped: Bools = (then["status"] == 0) & (now["status"] > 0) & mattered
    return stopped


def _grown(then: NDArray[np.float64], now: NDArray[np.float64], factor: float) -> Bools:
    # From infinity to infinity there is no difference, and NaN is greater than nothing.
    return (now > factor * then) & (now - then > LEAST_ULP)


def _words(found: pd.DataFrame, side: str) -> list[str]:
    """What a line is, on one side: its status, or its grade with what says most beside it."""
    columns = (found[c + side] for c in ("status", "grade", "ulp", "verdict", "wrong", "rows", "unsound"))
    return [_word(*of_line) for of_line in zip(*columns, strict=True)]


def _word(status: int, grade: int, ulp: float, verdict: object, wrong: int, rows: int, unsound: int) -> str:
    if status:
        return STATUSES[status]
    if grade < 0:
        return f"ungraded, {verdict}" if unsound >= 0 and isinstance(verdict, str) else "ungraded" + _ignored(unsound)
    return _graded_word(grade, ulp, verdict, wrong, rows) + _ignored(unsound)


def _ignored(unsound: int) -> str:
    """What a line that stands for all rows of a case says of its ignored ones."""
    return ", an ignored row not 0" if unsound > 0 else ""


def _graded_word(grade: int, ulp: float, verdict: object, wrong: int, rows: int) -> str:
    if GRADES[grade] != "F":
        return f"{GRADES[grade]} {ulp:.3g} ulp"
    if isinstance(verdict, str):
        return f"F {verdict}"
    return f"F {wrong} of {rows} not finite" if wrong else "F"


def of_one_side(lines: pd.DataFrame, here: Lines, there: Lines, what: str, *, regression: bool) -> list[pd.DataFrame]:
    """What only one side has: cells, quantities of a cell, cases that were not asked for, and cases of a cell."""
    if lines.empty:
        return []
    no_cell = ~within(lines, there.measured, CELL)
    no_quantity = ~within(lines, there.measured, [*CELL, "quantity"]) & ~no_cell
    unasked = ~within(lines, there.measured, CASE_KEY) | within(lines, _reshaped(here, there), CASE_KEY)
    of_cell = ~(no_cell | no_quantity)
    return [
        _told_of(lines[which], by, kind, what, regression=worse)
        for which, by, kind, worse in (
            (no_cell, CELL, "cell", regression),
            (no_quantity, [*CELL, "quantity"], "cell", regression),
            (of_cell & unasked, CASE_KEY, "case", False),
            (of_cell & ~unasked, [*CELL, "quantity", "case"], "case", regression),
        )
        if which.any()
    ]


def _reshaped(here: Lines, there: Lines) -> pd.DataFrame:
    """The cases whose losses are of other rows: with more or fewer of them, or reduced on one side alone."""
    key = [*CASE_KEY, "row"]
    ours, theirs = (side.measured.loc[side.measured["quantity"] == "loss", key] for side in (here, there))
    odd = [ours[~within(ours, theirs, key)], theirs[~within(theirs, ours, key)]]
    return pd.concat([part.astype(dict.fromkeys(CASE_KEY, object)) for part in odd])


def _told_of(part: pd.DataFrame, by: list[str], whose: str, what: str, *, regression: bool) -> pd.DataFrame:
    """One change for all lines of a cell, or of a case, that only one side has."""
    side = "before" if what == "gone" else "after"
    counted = part.groupby(by, observed=True).size().reset_index(name=side)
    counted[side] = [f"{count} line{'s' * (count != 1)}" for count in counted[side]]
    absent = {c: "" for c in (*KEY[:-1], "before", "after", "detail") if c not in counted}
    numbers = dict.fromkeys(("before_ulp", "after_ulp", "factor"), np.nan)
    whole = counted.astype(dict.fromkeys(by, object)).assign(
        change=f"{whose} {what}", row=None, regression=regression, improvement=False, **absent, **numbers
    )
    return whole.astype({"row": "Int64", "regression": bool})[COLUMNS]
