"""The tables of a report, each a pandas DataFrame made from the measurements.

Every function takes the measurements table (see `store.COLUMNS`) and returns numbers and words; how they look
is decided where they are rendered.
"""

from __future__ import annotations

import pandas as pd

from ._lines import CELL, by_dtype, in_order, pairs, plain

GRADES = ("A", "B", "C", "D", "F")
INVALID = "invalid"
ARTICLE, ARTICLE_MEAN = "seed/article", "seed/article_mean"


def grade_matrix(df: pd.DataFrame) -> pd.DataFrame:
    """Implementation x dtype: the worst grade in a column named after the dtype, its case in ``<dtype> case``.

    Where nothing could be graded the column holds the status instead.
    """
    graded = plain(df[df["grade"].notna()])
    graded["rank"] = graded["grade"].map({g: i for i, g in enumerate(GRADES)})
    # Of equal grades the largest error stands for the cell, and of equal errors the first in the catalogue's order.
    graded = graded.sort_values(["rank", "max_ulp"], ascending=False, kind="stable")
    worst = graded.groupby(CELL, sort=False).first().reset_index()[[*CELL, "grade", "case"]]
    ungraded = plain(df[df["status"] != "ok"]).groupby(CELL, sort=False).first().reset_index()
    ungraded = ungraded.assign(grade=ungraded["status"])[[*CELL, "grade", "case"]]
    both = pd.concat([worst, ungraded]).drop_duplicates(CELL)
    return by_dtype(df, both, {"grade": "", "case": " case"})


_SIDES = {True: "finite where it should be", False: "not finite where it should not"}


def finiteness(df: pd.DataFrame) -> pd.DataFrame:
    """Implementation, mode, device and dtype; the shares, between 0 and 1, with the number of rows behind each."""
    rows = plain(df[df["grade"].notna()])
    rows["right"] = ((rows["grade"] != "F") | (rows["finite"] == rows["expected_finite"])).astype(float)
    rows["side"] = rows["expected_finite"].map(_SIDES)
    shares = rows.pivot_table(index=CELL, columns="side", values="right", aggfunc=["mean", "count"], sort=False)
    shares.columns = [side if kind == "mean" else f"rows {side}" for kind, side in pairs(shares)]
    return in_order(
        df, shares.reindex(columns=[*_SIDES.values(), *(f"rows {s}" for s in _SIDES.values())]).reset_index()
    )


def errors(df: pd.DataFrame) -> pd.DataFrame:
    """Median and largest error in ulp of loss and gradient, for each implementation, mode, device and dtype."""
    rows = plain(df[df["grade"].notna() & df["quantity"].isin(["loss", "gradient"])])
    table = rows.pivot_table(index=CELL, columns="quantity", values="max_ulp", aggfunc=["median", "max"], sort=False)
    names = {"median": "median", "max": "largest"}
    table.columns = [f"{quantity} {names[kind]}" for kind, quantity in pairs(table)]
    wanted = [f"{q} {n}" for q in ("loss", "gradient") for n in names.values()]
    return in_order(df, table.reindex(columns=wanted).reset_index())


def article(df: pd.DataFrame) -> pd.DataFrame:
    """The article's batch: each row's loss, their mean, and whether each row's gradient is finite."""
    of_batch = plain(df[df["case"].isin([ARTICLE, ARTICLE_MEAN])])
    batch = of_batch[of_batch["case"] == ARTICLE].assign(row=lambda d: d["row"] + 1)
    losses = batch[batch["quantity"] == "loss"].pivot(index=CELL, columns="row", values="value")
    losses.columns = [f"loss {r}" for r in losses.columns]
    mean = of_batch[(of_batch["case"] == ARTICLE_MEAN) & (of_batch["quantity"] == "loss")].set_index(CELL)["value"]
    gradient = batch[(batch["quantity"] == "gradient") & (batch["status"] == "ok")]
    kind = gradient["finite"].map({True: "finite", False: "inf"}).where(gradient["n_nan"] == 0, "NaN")
    finite = gradient.assign(kind=kind).pivot(index=CELL, columns="row", values="kind")
    finite.columns = [f"grad {r}" for r in finite.columns]
    table = losses.join(mean.rename("mean"), how="outer").join(finite, how="outer")
    table[finite.columns] = table[finite.columns].fillna("none")
    return in_order(df, table.reset_index())


def faults(df: pd.DataFrame) -> pd.DataFrame:
    """What was not measured: of each implementation each message, in how many cases and dtypes, and the first case.

    A refusal of an invalid target is a result and no fault: see `invalid_targets`.
    """
    bad = plain(df[(df["status"] != "ok") & (df["family"] != INVALID)])
    if bad.empty:
        return bad
    keys = ["framework", "implementation", "status", "detail"]
    table = bad.groupby(keys, sort=False, dropna=False).agg(
        cases=("case", "nunique"), dtypes=("dtype", "nunique"), first=("case", "first")
    )
    return in_order(df, table.reset_index())


def invalid_targets(df: pd.DataFrame) -> pd.DataFrame:
    """Implementation x target that is none of the classes: ``raises``, ``NaN``, ``zero``, ``wraps`` or ``number``."""
    rows = plain(df[(df["family"] == INVALID) & (df["quantity"] == "loss") & (df["row"] == 0)])
    rows = rows[rows["status"] != "unsupported"]
    if rows.empty:
        return rows
    words = {"gave NaN": "NaN", "gave 0": "zero", "from the end": "wraps", "gave": "number"}
    rows["did"] = [
        next((short for long, short in words.items() if status == "ok" and long in detail), status)
        for status, detail in zip(rows["status"], rows["detail"], strict=True)
    ]
    rows["did"] = rows["did"].replace({"raised": "raises", "crashed": "crashes", "timeout": "hangs"})
    rows["target"] = rows["case"].str.removeprefix(f"{INVALID}/")
    table = rows.pivot(index=CELL, columns="target", values="did")[list(pd.unique(rows["target"]))]
    table.columns.name = None
    return in_order(df, table.reset_index())
