"""Who agrees with whom: modes with eager, devices with the CPU, and implementations with each other.

Two results are *equal* if their bits are (all NaN are one), else as far apart as the difference of two losses is in ulp
of the dtype at the exact loss: infinitely, where one is finite and the other is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..formats import FORMATS, ulp
from ._lines import CELL, DTYPES, in_order, plain
from ._tables import GRADES

Float64 = NDArray[np.float64]

ROW = ["case", "row", "quantity"]
NEAR = (1.0, 10.0)  # ulp
MARK = "+"  # before the variant of a mode


def against(df: pd.DataFrame, column: str, base: str) -> pd.DataFrame:
    """Results in one mode or device against the same in another, for each cell and quantity.

    Args:
        df: the measurements.
        column: ``mode`` or ``device``.
        base: the mode or device that the others are compared with; the variant of a mode is compared with that mode.

    Returns:
        Columns `CELL`, ``quantity``, ``rows``, ``different`` (how many of them have other bits), ``worse`` and
        ``better`` (how many have another grade), ``largest`` (between two losses, in ulp) and ``case``, that of the
        largest difference, of a worse grade first.
    """
    done = plain(df[df["status"] == "ok"])
    keys = [*ROW, *(c for c in CELL if c != column)]
    kept = [*keys, "out_dtype", "bits", "grade", "value", "exact"]
    ours = done[done[column] != base]
    ours = ours.assign(against=[mode.partition(MARK)[0] if MARK in mode else base for mode in ours[column]])
    theirs = done[[*kept, column]].rename(columns={column: "against"})
    if ours.empty:
        return pd.DataFrame(columns=[*CELL, "quantity", "rows", "different", "worse", "better", "largest", "case"])
    both = ours[[*kept, column, "against"]].merge(theirs, on=[*keys, "against"], suffixes=("", " base"))
    both["different"] = (both["bits"] != both["bits base"]) | (both["out_dtype"] != both["out_dtype base"])
    letters = [both[c].map({g: i for i, g in enumerate(GRADES)}) for c in ("grade", "grade base")]
    both["worse"], both["better"] = letters[0] > letters[1], letters[0] < letters[1]
    value, other, exact = (both[c].to_numpy(np.float64) for c in ("value", "value base", "exact"))
    apart = _apart(value, other, _spacing(exact, both["dtype"].to_numpy()))
    both["largest"] = np.where(both["quantity"] == "loss", apart, np.nan)
    both = both.sort_values(["worse", "largest", "different"], ascending=False, kind="stable")
    both["case"] = both["case"].where(both["different"])
    table = both.groupby([*CELL, "quantity"], sort=False).agg(
        rows=("different", "size"), different=("different", "sum"), worse=("worse", "sum"), better=("better", "sum"),
        largest=("largest", "max"), case=("case", "first"),
    )  # fmt: skip
    return in_order(df, table.reset_index())


def _spacing(exact: Float64, dtypes: NDArray[Any]) -> Float64:
    """An ulp of each row's dtype at its exact loss, (R,)."""
    spacing = np.full(exact.shape, np.nan)
    for name in pd.unique(dtypes):
        of_dtype = dtypes == name
        # Where the exact loss is no number the largest stands for it: there the difference in kind counts.
        at = np.where(np.isfinite(exact[of_dtype]), exact[of_dtype], FORMATS[name].largest)
        spacing[of_dtype] = ulp(at, FORMATS[name])
    return spacing


def _apart(one: Float64, other: Float64, spacing: Float64) -> Float64:
    """Distances of losses (R,) in ulp; 0 where both are the same, NaN included."""
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.abs(one - other) / spacing
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.where(same, 0.0, np.where(np.isfinite(one) & np.isfinite(other), far, np.inf))


@dataclass(frozen=True, eq=False)
class Losses:
    """The losses of one dtype: eager, on the first device of the run, of the rows that have an answer.

    ``values`` and ``given`` are (R, I), of R rows in ``rows`` (case, row, exact) and I implementations in ``names``.
    """

    dtype: str
    rows: pd.DataFrame
    names: NDArray[Any]
    values: Float64
    given: NDArray[np.bool_]

    @classmethod
    def of(cls, df: pd.DataFrame, dtype: str) -> Losses:
        wanted = (df["mode"] == "eager") & (df["quantity"] == "loss") & (df["dtype"] == dtype) & (df["status"] == "ok")
        eager = plain(df[wanted & (df["verdict"] != "undefined")])
        one = eager[eager["device"] == eager["device"].iloc[0]] if len(eager) else eager
        rows = one[["case", "row", "exact"]].drop_duplicates(["case", "row"]).reset_index(drop=True)
        names = pd.unique(one["implementation"])
        shape = (len(rows), len(names))
        values, given = np.full(shape, np.nan), np.zeros(shape, bool)
        known, asked = (pd.MultiIndex.from_frame(lines[["case", "row"]]) for lines in (rows, one))
        place = known.get_indexer(asked)
        column = pd.Index(names).get_indexer(pd.Index(one["implementation"].to_numpy()))
        values[place, column], given[place, column] = one["value"], True
        return cls(dtype, rows, np.asarray(names, object), values, given)

    def apart(self, one: Float64, other: Float64, where: NDArray[np.bool_]) -> Float64:
        """Distances of losses (R',) of the rows chosen from (R,)."""
        return _apart(one, other, self.spacing[where])

    @cached_property
    def spacing(self) -> Float64:
        """An ulp at each row's exact loss, (R,): of all pairs of implementations the same."""
        return _spacing(self.rows["exact"].to_numpy(np.float64), np.full(len(self.rows), self.dtype))


def losses(df: pd.DataFrame) -> tuple[Losses, ...]:
    """Those of each dtype, from the measurements."""
    return tuple(Losses.of(df, dtype) for dtype in DTYPES)


def agreement(of_dtypes: Sequence[Losses]) -> pd.DataFrame:
    """For each case and dtype the row on which the implementations' losses are farthest apart.

    Returns:
        ``case``, ``dtype``, ``row``, ``implementations`` (that gave a loss), ``answers`` (different ones), ``apart``
        (largest distance of two finite ones in ulp), ``lowest`` and ``highest`` (who gave them), ``not finite`` (who
        gave no finite loss where another did).
    """
    tables = [_farthest(one) for one in of_dtypes]
    return pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)


def _farthest(one: Losses) -> pd.DataFrame:
    names, v, given = one.names, one.values, one.given
    finite = np.isfinite(v)
    some: NDArray[np.bool_] = np.logical_or.reduce(finite, axis=1)
    low, high = np.where(finite, v, np.inf), np.where(finite, v, -np.inf)
    broken = given & ~finite & some[:, None]
    table = one.rows[["case"]].assign(
        dtype=one.dtype,
        row=one.rows["row"],
        implementations=given.sum(axis=1),
        answers=[len(set(map(str, line[there]))) for line, there in zip(v, given, strict=True)],
        apart=0.0,
        lowest="",
        highest="",
        broken=broken.sum(axis=1),
    )
    table["not finite"] = [", ".join(names[line]) for line in broken]
    if some.any():
        at = np.flatnonzero(some)
        table.loc[at, "apart"] = one.apart(low[some].min(axis=1), high[some].max(axis=1), some)
        table.loc[at, "lowest"] = names[low[some].argmin(axis=1)]
        table.loc[at, "highest"] = names[high[some].argmax(axis=1)]
    worst = table.sort_values(["broken", "apart"], ascending=False, kind="stable").drop_duplicates("case")
    return worst.sort_index().drop(columns="broken")


def pairs(of_dtypes: Sequence[Losses]) -> pd.DataFrame:
    """Every two implementations and dtype: on how many rows both gave a loss, and on how many the losses are equal,
    within `NEAR` ulp of each other, or farther apart.
    """
    lines = []
    for one in of_dtypes:
        for i, j in combinations(range(len(one.names)), 2):
            both = one.given[:, i] & one.given[:, j]
            apart = one.apart(one.values[both, i], one.values[both, j], both)
            counts = [int((apart == 0).sum()), *(int((apart <= n).sum()) for n in NEAR), int((apart > NEAR[-1]).sum())]
            lines.append((one.dtype, one.names[i], one.names[j], len(apart), *counts))
    names = ["dtype", "one", "other", "rows", "equal", *(f"within {n:g} ulp" for n in NEAR), "apart"]
    return pd.DataFrame(lines, columns=names)


def identical(of_pairs: pd.DataFrame) -> pd.DataFrame:
    """For each dtype the groups of implementations whose losses are equal on every row that any two have in common."""
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
    return pd.DataFrame(found, columns=["dtype", "implementations", "with the same losses in every bit"])
