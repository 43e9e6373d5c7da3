"""The tables of a report, each a pandas DataFrame made from the measurements.

Every function takes the measurements table (see `store.COLUMNS`) and returns numbers and words; how they look
is decided where they are rendered.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

CELL = ["framework", "implementation", "mode", "device", "dtype"]
WHO = ["implementation", "mode", "device"]
GRADES = ("A", "B", "C", "D", "F")
DTYPES = ("float16", "bfloat16", "float32", "float64")
INVALID = "invalid"
ARTICLE, ARTICLE_MEAN = "seed/article", "seed/article_mean"


@dataclass(frozen=True)
class Section:
    """One table of a report: its title, how to read it, the numbers, and the words that stand for them on a page."""

    name: str
    title: str
    note: str
    table: pd.DataFrame
    shown: pd.DataFrame


def sections(measurements: pd.DataFrame) -> list[Section]:
    """All tables that the measurements can fill, in reading order."""
    df = measurements
    grades, finite, ulps, batch, bad = (
        grade_matrix(df),
        finiteness(df),
        errors(df),
        article(df[df["dtype"] == "float32"]),
        faults(df),
    )
    invalid = invalid_targets(df[df["dtype"] == "float32"])
    whole = [
        Section(
            "grades",
            "Grades",
            "The worst grade over all cases, rows and quantities, and the case that caused it: "
            "A accurate, B stable, C offset-sensitive, D inaccurate, F not finite where it should be or the reverse.",
            grades,
            _merged(grades),
        ),
        Section(
            "finiteness",
            "Finiteness",
            "Share of the graded rows that are finite where the exact answer is / not finite where it is not.",
            finite,
            _across_dtypes(df, finite, "{finite where it should be:.1%} / {not finite where it should not:.1%}"),
        ),
        *(
            Section(
                f"errors_{quantity}",
                f"Errors of the {quantity}, in ulp of the dtype",
                "Median / largest over all graded rows; inf where a row is not finite and should be, or the reverse.",
                part,
                _across_dtypes(df, part, f"{{{quantity} median:.2g}} / {{{quantity} largest:.2g}}"),
            )
            for quantity in ("loss", "gradient")
            for part in [ulps[[*CELL, f"{quantity} median", f"{quantity} largest"]].dropna()]
        ),
        Section(
            "article",
            "The article's batch, row by row",
            "float32, logits [[2, 1, 0.1], [1000, 1, -1000], [3, 2, 1]], targets [0, 2, 1].",
            batch,
            batch.drop(columns="dtype", errors="ignore").map(_four_decimals),
        ),
        Section(
            "invalid",
            "Targets that are no class",
            "float32, a target outside [0, 3) of three classes: refused, NaN, zero as if ignored, read from the end "
            "(wraps), or some other plausible number, the worst.",
            invalid,
            invalid.drop(columns="dtype", errors="ignore").rename(columns=lambda name: name.replace("_", " ")),
        ),
        Section(
            "faults",
            "Not measured",
            "What raised, crashed or ran out of time, and in how many cases an option is not supported, by somebody's "
            "own word; faults.csv has the words.",
            bad,
            _in_brief(bad),
        ),
    ]
    return [s for s in whole if len(s.table)]


def grade_matrix(df: pd.DataFrame) -> pd.DataFrame:
    """Implementation x dtype: the worst grade in a column named after the dtype, its case in ``<dtype> case``.

    Where nothing could be graded the column holds the status instead.
    """
    graded = _plain(df[df["grade"].notna()])
    graded["rank"] = graded["grade"].map({g: i for i, g in enumerate(GRADES)})
    # Of equal grades the largest error stands for the cell, and of equal errors the first in the catalogue's order.
    graded = graded.sort_values(["rank", "max_ulp"], ascending=False, kind="stable")
    worst = graded.groupby(CELL, sort=False).first().reset_index()[[*CELL, "grade", "case"]]
    ungraded = _plain(df[df["status"] != "ok"]).groupby(CELL, sort=False).first().reset_index()
    ungraded = ungraded.assign(grade=ungraded["status"])[[*CELL, "grade", "case"]]
    both = pd.concat([worst, ungraded]).drop_duplicates(CELL)
    return _by_dtype(df, both, {"grade": "", "case": " case"})


_SIDES = {True: "finite where it should be", False: "not finite where it should not"}


def finiteness(df: pd.DataFrame) -> pd.DataFrame:
    """Implementation, mode, device and dtype; the shares, between 0 and 1, with the number of rows behind each."""
    rows = _plain(df[df["grade"].notna()])
    rows["right"] = ((rows["grade"] != "F") | (rows["finite"] == rows["expected_finite"])).astype(float)
    rows["side"] = rows["expected_finite"].map(_SIDES)
    shares = rows.pivot_table(index=CELL, columns="side", values="right", aggfunc=["mean", "count"], sort=False)
    shares.columns = [side if kind == "mean" else f"rows {side}" for kind, side in _pairs(shares)]
    return _in_order(
        df, shares.reindex(columns=[*_SIDES.values(), *(f"rows {s}" for s in _SIDES.values())]).reset_index()
    )


def errors(df: pd.DataFrame) -> pd.DataFrame:
    """Median and largest error in ulp of loss and gradient, for each implementation, mode, device and dtype."""
    rows = _plain(df[df["grade"].notna() & df["quantity"].isin(["loss", "gradient"])])
    table = rows.pivot_table(index=CELL, columns="quantity", values="max_ulp", aggfunc=["median", "max"], sort=False)
    names = {"median": "median", "max": "largest"}
    table.columns = [f"{quantity} {names[kind]}" for kind, quantity in _pairs(table)]
    wanted = [f"{q} {n}" for q in ("loss", "gradient") for n in names.values()]
    return _in_order(df, table.reindex(columns=wanted).reset_index())


def article(df: pd.DataFrame) -> pd.DataFrame:
    """The article's batch: each row's loss, their mean, and whether each row's gradient is finite."""
    of_batch = _plain(df[df["case"].isin([ARTICLE, ARTICLE_MEAN])])
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
    return _in_order(df, table.reset_index())


def faults(df: pd.DataFrame) -> pd.DataFrame:
    """What was not measured: of each implementation each message, in how many cases and dtypes, and the first case.

    A refusal of an invalid target is a result and no fault: see `invalid_targets`.
    """
    bad = _plain(df[(df["status"] != "ok") & (df["family"] != INVALID)])
    if bad.empty:
        return bad
    keys = ["framework", "implementation", "status", "detail"]
    table = bad.groupby(keys, sort=False, dropna=False).agg(
        cases=("case", "nunique"), dtypes=("dtype", "nunique"), first=("case", "first")
    )
    return _in_order(df, table.reset_index())


def invalid_targets(df: pd.DataFrame) -> pd.DataFrame:
    """Implementation x target that is none of the classes: ``raises``, ``NaN``, ``zero``, ``wraps`` or ``number``."""
    rows = _plain(df[(df["family"] == INVALID) & (df["quantity"] == "loss") & (df["row"] == 0)])
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
    return _in_order(df, table.reset_index())


def _in_brief(bad: pd.DataFrame) -> pd.DataFrame:
    """The faults one by one; what an implementation does not support, which is no fault, as one line."""
    if bad.empty:
        return bad
    refused = bad[bad["status"] == "unsupported"].groupby(["framework", "implementation", "status"], sort=False)
    counted = refused.agg(detail=("detail", "nunique"), cases=("cases", "sum"), dtypes=("dtypes", "max"))
    counted["detail"] = counted["detail"].map("{} reasons".format)
    return pd.concat([bad[bad["status"] != "unsupported"], counted.reset_index()], ignore_index=True)


def _four_decimals(value: object) -> object:
    if not isinstance(value, float):
        return value
    return f"{value:.0f}" if value.is_integer() else f"{value:.4f}"


def _merged(matrix: pd.DataFrame) -> pd.DataFrame:
    """Each dtype's grade and its case in one column."""
    merged = matrix.copy()
    for dtype in DTYPES:
        if dtype in merged:
            both = zip(merged[dtype], merged.pop(f"{dtype} case"), strict=True)
            merged[dtype] = ["" if pd.isna(grade) else f"{grade} {case}" for grade, case in both]
    return merged


def _across_dtypes(df: pd.DataFrame, table: pd.DataFrame, template: str) -> pd.DataFrame:
    """One column for each dtype, its cells the template filled from the table's line for that dtype."""
    words = [
        template.format_map(line).replace("nan%", "-").replace("100.0%", "100%") for line in table.to_dict("records")
    ]
    return _by_dtype(df, table.assign(words=words), {"words": ""})


def _pairs(pivoted: pd.DataFrame) -> list[tuple[str, str]]:
    return [(str(column[0]), str(column[1])) for column in pivoted.columns]


def _plain(df: pd.DataFrame) -> pd.DataFrame:
    """Words as strings: grouping by categories would list every combination of them."""
    words = [c for c in df.columns if isinstance(df[c].dtype, pd.CategoricalDtype)]
    return df.astype(dict.fromkeys(words, object))


def _by_dtype(df: pd.DataFrame, cells: pd.DataFrame, values: dict[str, str]) -> pd.DataFrame:
    """One line for each implementation, mode and device; for each dtype one column for each value."""
    wide = cells.pivot(index=["framework", *WHO], columns="dtype", values=list(values))
    wide.columns = [f"{dtype}{values[value]}" for value, dtype in _pairs(wide)]
    columns = [f"{d}{suffix}" for d in DTYPES for suffix in values.values() if f"{d}{suffix}" in wide.columns]
    return _in_order(df, wide[columns].reset_index())


def _in_order(df: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Lines in the order in which the run lists its cells, dtypes from narrow to wide."""
    seen = [c for c in CELL if c in table.columns]
    place = {column: {v: i for i, v in enumerate(pd.unique(df[column].astype(object)))} for column in seen}
    if "dtype" in place:
        place["dtype"] = {d: i for i, d in enumerate(DTYPES)}
    return table.sort_values(seen, key=lambda c: c.map(place[str(c.name)]), kind="stable").reset_index(drop=True)
