"""Which lines two sides have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._lines import EXACT, KEY, Lines

Int64 = NDArray[np.int64]
_EXACT_KEY = [*EXACT, "row"]


def joined(
    base: pd.DataFrame, new: pd.DataFrame, key: Sequence[str] = KEY
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The lines of both, of BASE alone and of NEW alone, by a key that names one line.

    In the first NEW's columns have `` new`` behind their names.
    """
    ours, theirs = _numbered(base, new, key)
    place = pd.Index(theirs).get_indexer(pd.Index(ours))
    there = place >= 0
    rest = np.ones(len(new), bool)
    rest[place[there]] = False
    values = new.drop(columns=list(key)).iloc[place[there]].add_suffix(" new").reset_index(drop=True)
    both = pd.concat([base[there].reset_index(drop=True), values], axis=1)
    return both, base[~there], new[rest]


def changed_cases(base: Lines, new: Lines, both: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of the common lines are of rows whose exact answer differs."""
    exact, _, _ = joined(base.exact, new.exact, _EXACT_KEY)
    # With other rows known on each side a digest of several says nothing; their status does.
    differs = exact[(exact["mark"] != exact["mark new"]) & (exact["rows"] == exact["rows new"])]
    if differs.empty:
        return np.zeros(len(both), bool)
    # What all shared implementations are held to has changed for one that gave no loss too.
    keys = [(differs, _EXACT_KEY), (_unanimous(exact, differs), _EXACT_KEY[1:])]
    found = np.zeros(len(both), bool)
    for changed, key in keys:
        # A reduced loss that changed does not tell which row did.
        whole = changed[changed["row"] < 0]
        found |= within(both, changed, key) | within(both, whole, key[:-1])
    return found


def _unanimous(exact: pd.DataFrame, differs: pd.DataFrame) -> pd.DataFrame:
    """The rows whose exact answers differ for every implementation that both sides have."""
    key = _EXACT_KEY[1:]
    same = exact[exact["mark"] == exact["mark new"]]
    return differs[~within(differs, same, key)]


def within(lines: pd.DataFrame, named: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Which lines the other table has too, by these columns."""
    ours, theirs = _numbered(lines, named, columns)
    return np.isin(ours, theirs)


def _numbered(one: pd.DataFrame, other: pd.DataFrame, columns: Sequence[str]) -> tuple[Int64, Int64]:
    """A number for each line of both tables, the same where these columns are."""
    numbers = np.zeros(len(one) + len(other), np.int64)
    count = 1
    for column in columns:
        codes, size = _codes(one[column], other[column])
        if count * size >= 2**62:
            numbers, seen = pd.factorize(numbers)
            count = len(seen)
        numbers = numbers * size + codes
        count *= size
    return numbers[: len(one)], numbers[len(one) :]


def _codes(one: pd.Series[Any], other: pd.Series[Any]) -> tuple[Int64, int]:
    if isinstance(one.dtype, pd.CategoricalDtype) and isinstance(other.dtype, pd.CategoricalDtype):
        words = one.cat.categories.union(other.cat.categories)
        parts = [words.get_indexer(c.cat.categories)[c.cat.codes.to_numpy()] for c in (one, other)]
        return np.concatenate(parts).astype(np.int64), max(len(words), 1)
    codes, seen = pd.factorize(np.concatenate([one.to_numpy(), other.to_numpy()]))
    return codes.astype(np.int64), max(len(seen), 1)
