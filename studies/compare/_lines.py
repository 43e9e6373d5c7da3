"""Measurements in the form for a comparison, by row or by case, and the lines that two sides share.

A line has the columns `KEY`, which identify it, and

=========== ===========================================================================================
``rows``    the number of rows of the case in the line: 1, or all of them
``status``  the worst status of the rows, an index into `BY_SEVERITY`
``grade``   the worst grade of the rows, an index into `GRADES`; -1 without a grade
``wrong``   the number of rows that are not finite and should be
``ulp``     the largest error; NaN without a grade
``known``   whether ``bits`` is known
``bits``    a digest of the values
``unsound`` for rows with a verdict and no grade (ignored rows without a softmax), the sum of 1 for each number other
            than 0 and 2 for each value that is not finite; -1 without such a row, or if its verdict is unknown
``verdict`` the verdict of a single row
``detail``  the message if the status is not ok
=========== ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.errors import UsageError
from ...core.vocabulary import GRADES, Quantity, Status, Verdict
from ...storage.manifest import CellKey
from ...storage.schema import typed

CELL = list(CellKey._fields)
EXACT = ["implementation", "dtype", "case"]
CASE = [*CELL, "quantity", "case"]
KEY = [*CASE, "row"]
BY_SEVERITY = (Status.OK, Status.UNSUPPORTED, Status.RAISED, Status.TIMEOUT, Status.CRASHED)
OK = BY_SEVERITY.index(Status.OK)
ALL_ROWS = -2  # the row number of a line for all rows of a case (-1 is a reduced loss)
DIGEST_BITS = 24
_MAX_NUMBER = 2**62
_EXACT_KEY = [*EXACT, "row"]
_UNSOUND = {Verdict.CORRECT: 0, Verdict.NAN: 2, Verdict.OVERFLOW: 2, Verdict.SWALLOWED: 2}  # other verdicts 1

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Lines:
    """Measured lines, and the exact answers that they were compared with.

    ``exact`` has the columns `EXACT`, ``row``, ``rows`` and ``mark``, a digest of the exact losses and the number of
    classes. Cases of the same name with different marks are different cases. An implementation that documents another
    mean has another exact loss.
    """

    measured: pd.DataFrame
    exact: pd.DataFrame
    by_case: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """One side of a comparison.

    ``facts`` describes its origin: versions, processor, catalogue. ``versions`` has the version of each implementation
    in the lines. ``complete`` is None if unknown.
    """

    name: str
    lines: Lines
    facts: Mapping[str, str]
    versions: Mapping[str, str]
    complete: bool | None = None


def lines(table: pd.DataFrame, name: str) -> Lines:
    """Return the lines of a measurements table, by row.

    Raises:
        UsageError: for a table that is not a measurements table, or has a repeated measurement.
    """
    df = _checked(table, name)
    ok = df["status"] == Status.OK
    graded = ok & df["grade"].notna()
    measured = df[KEY].assign(
        rows=1,
        status=_codes(df["status"], BY_SEVERITY, name),
        grade=np.where(graded, _codes(df["grade"], GRADES, name), -1),
        wrong=(graded & df["expected_finite"].fillna(False) & ~df["finite"].fillna(True)).astype(np.int64),
        ulp=df["max_ulp"].where(graded),
        known=ok & df["bits"].notna(),
        bits=df["bits"].fillna(0).astype(np.int64),
        unsound=_unsound(df["verdict"].where(ok & ~graded)),
        verdict=df["verdict"],
        detail=df["detail"].where(~ok),
    )
    return Lines(measured, _exact(df[ok & (df["quantity"] == Quantity.LOSS)]))


def _unsound(verdicts: pd.Series[str]) -> Int64:
    """Return how wrong ungraded rows are, 0 to 2; -1 without a verdict."""
    known = verdicts.notna() & (verdicts != Verdict.UNDEFINED)
    rank = verdicts.astype(object).map(_UNSOUND).fillna(1)
    return np.where(known, rank, -1).astype(np.int64)


def _checked(table: pd.DataFrame, name: str) -> pd.DataFrame:
    for column in (*KEY, "status"):
        if column not in table or table[column].isna().any():
            raise UsageError(
                f"{name} is not a table of measurements: its column {column} is missing or has gaps; "
                "give a table from `logitlab run`"
            )
    try:
        df = typed(table)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name} is not a table of measurements ({error}); give a table from `logitlab run`"
        ) from error
    repeated = df.duplicated(KEY)
    if repeated.any():
        first = df.loc[repeated, KEY].iloc[0]
        raise UsageError(
            f"{name} has {repeated.sum()} repeated measurements, the first {' '.join(map(str, first))!r}; "
            "give the table of one run"
        )
    return df.reset_index(drop=True)


def _codes(words: pd.Series[str], known: tuple[str, ...], name: str) -> Int64:
    codes: Int64 = words.cat.set_categories(list(map(str, known))).cat.codes.to_numpy().astype(np.int64)
    unknown = (codes < 0) & words.notna().to_numpy()
    if unknown.any():
        raise UsageError(
            f"{name} has the unknown {words.name} {str(words[unknown].iloc[0])!r}; expected one of {', '.join(known)}; "
            "if a newer LogitLab wrote it, upgrade with `pip install --upgrade logitlab`"
        )
    return codes


def _exact(losses: pd.DataFrame) -> pd.DataFrame:
    value = losses["exact"].to_numpy(np.float64) + 0.0  # one zero
    value[np.isnan(value)] = np.nan  # and one NaN
    mark = mixed(value.view(np.uint64) ^ mixed(losses["classes"].to_numpy().astype(np.uint64)))
    named = losses[[*EXACT, "row"]].assign(rows=1, mark=mark.view(np.int64))
    return named.groupby([*EXACT, "row"], observed=True, sort=False).min().reset_index()


def by_case(by_row: Lines) -> Lines:
    """Return the lines by case: the worst of its rows, and one digest of `DIGEST_BITS` bits.

    Errors are rounded to three digits, like those of a baseline.
    """
    if by_row.by_case:
        return by_row
    df = by_row.measured
    ok = df["status"] == OK
    # A sum of mixed digests does not depend on the order of the rows.
    each = _at_rows(df["bits"], df["row"])
    each[~ok.to_numpy()] = 0
    unknown, unsound = ok & ~df["known"], df["unsound"]
    of_rows_known = df.assign(unknown=unknown, ok=ok, each=each, unsound=unsound.clip(lower=0), looked_at=unsound)
    grouped = of_rows_known.groupby(CASE, observed=True, sort=False)
    measured = grouped.agg(
        rows=("rows", "sum"), status=("status", "max"), grade=("grade", "max"), wrong=("wrong", "sum"),
        ulp=("ulp", "max"), ok=("ok", "any"), unknown=("unknown", "any"), bits=("each", "sum"),
        unsound=("unsound", "sum"), looked_at=("looked_at", "max"),
    ).reset_index()  # fmt: skip
    measured.loc[measured.pop("looked_at") < 0, "unsound"] = -1
    measured["known"] = measured.pop("ok") & ~measured.pop("unknown")
    measured["bits"] = np.where(measured["known"], digested(measured["bits"].to_numpy().astype(np.uint64)), 0)
    measured["ulp"] = _three_digits(measured["ulp"].to_numpy(np.float64))
    measured["verdict"] = None
    details = df[~ok].groupby(CASE, observed=True, sort=False)["detail"].min()
    measured = measured.merge(details.reset_index(), on=CASE, how="left")
    marks = by_row.exact.assign(mark=_at_rows(by_row.exact["mark"], by_row.exact["row"]))
    exact = marks.groupby(EXACT, observed=True, sort=False)[["rows", "mark"]].sum().reset_index()
    exact["mark"] = digested(exact["mark"].to_numpy().astype(np.uint64))
    return Lines(measured.assign(row=ALL_ROWS), exact.assign(row=ALL_ROWS), by_case=True)


def _at_rows(digests: pd.Series[int], rows: pd.Series[int]) -> UInt64:
    values, places = (column.to_numpy(np.int64).view(np.uint64) for column in (digests, rows))
    return mixed(values ^ mixed(places))


def mixed(x: UInt64) -> UInt64:
    """Mix the bits of each value: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def digested(sums: UInt64) -> Int64:
    return (mixed(sums) >> np.uint64(64 - DIGEST_BITS)).astype(np.int64)


def _three_digits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    unique, place = np.unique(values, return_inverse=True)
    return np.array([float(f"{v:.3g}") for v in unique], np.float64)[place]


def joined(
    base: pd.DataFrame, new: pd.DataFrame, key: Sequence[str] = KEY
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the lines of both sides, of BASE only and of NEW only, joined by their key, which is unique in a side.

    In the first table, the names of NEW's columns end with `` new``.
    """
    ours, theirs = _numbered(base, new, key)
    place = pd.Index(theirs).get_indexer(pd.Index(ours))
    found = place >= 0
    fresh = np.ones(len(new), bool)
    fresh[place[found]] = False
    others = [column for column in new if column not in key]
    of_new = new[others].iloc[place[found]].add_suffix(" new").reset_index(drop=True)
    both = pd.concat([base[found].reset_index(drop=True), of_new], axis=1)
    return both, base[~found], new[fresh]


def changed_cases(base: Lines, new: Lines, both: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which of the common lines have a different exact answer."""
    exact, _, _ = joined(base.exact, new.exact, _EXACT_KEY)
    # Digests of several rows are comparable only if both sides know the same rows.
    differs = exact[(exact["mark"] != exact["mark new"]) & (exact["rows"] == exact["rows new"])]
    if differs.empty:
        return np.zeros(len(both), bool)
    # If the exact answer changed for all shared implementations, it changed also for one without a loss.
    same = exact[exact["mark"] == exact["mark new"]]
    unanimous = differs[~within(differs, same, _EXACT_KEY[1:])]
    found = np.zeros(len(both), bool)
    for changed, key in ((differs, _EXACT_KEY), (unanimous, _EXACT_KEY[1:])):
        # A changed reduced loss does not show which row changed.
        whole = changed[changed["row"] < 0]
        found |= within(both, changed, key) | within(both, whole, key[:-1])
    return found


def within(lines: pd.DataFrame, named: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Return which lines are in the other table too, by these columns."""
    if lines.empty or named.empty:
        return np.zeros(len(lines), bool)
    ours, theirs = _numbered(lines, named, columns)
    return np.isin(ours, theirs)


def _numbered(one: pd.DataFrame, other: pd.DataFrame, columns: Sequence[str]) -> tuple[Int64, Int64]:
    """Return a number for each line of two tables, equal where the columns are.

    Numbers are joined in a fraction of the time that pandas takes to join several columns.
    """
    numbers, count = np.zeros(len(one) + len(other), np.int64), 1
    for column in columns:
        codes, kinds = _coded(one[column], other[column])
        if count * kinds > _MAX_NUMBER:
            used, numbers = np.unique(numbers, return_inverse=True)
            count = len(used)
        numbers = numbers * kinds + codes
        count *= kinds
    return numbers[: len(one)], numbers[len(one) :]


def _coded(one: pd.Series[Any], other: pd.Series[Any]) -> tuple[Int64, int]:
    """Return a code for each value of two columns, one after the other, and the number of possible codes.

    A missing value has the code 0.
    """
    kinds = one.dtype, other.dtype
    if not all(isinstance(kind, pd.CategoricalDtype) for kind in kinds):
        codes, values = pd.factorize(np.concatenate([one.to_numpy(), other.to_numpy()]))
        return codes.astype(np.int64) + 1, len(values) + 1
    ours, theirs = one.cat.categories, other.cat.categories
    first, second = (column.cat.codes.to_numpy().astype(np.int64) + 1 for column in (one, other))
    if not ours.equals(theirs):
        of_theirs = ours.get_indexer(theirs) + 1
        unknown = of_theirs == 0
        of_theirs[unknown] = len(ours) + 1 + np.arange(unknown.sum())
        second = np.append(0, of_theirs)[second]
    return np.concatenate([first, second]), len(ours) + len(theirs) + 1
