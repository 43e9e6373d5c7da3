"""The tables of a report, each a pandas DataFrame made from the measurements.

Every function takes the measurements, of runs or of a DataFrame with the columns of `store.COLUMNS`, and returns
numbers and words; how they look is decided where they are rendered. What is aggregated is so by SQL, from a run's parts
without loading them; `tests/test_large.py` has the same tables by pandas.
"""

from __future__ import annotations

import pandas as pd

from ...core.invalid_targets import conduct_of_detail
from ...core.vocabulary import GRADES, Conduct
from ...storage.querying import Measurements
from ._medians import medians
from .ordering import CELL, by_dtype, in_order, pairs, plain
from .uncounted import COUNTED_ULP, LARGEST, LARGEST_UNCOUNTED

Source = Measurements | pd.DataFrame
KEYS = ", ".join(CELL)
RANK = f"(list_position({list(GRADES)}, grade) - 1)"  # of a grade, in SQL
INVALID = "invalid"
ARTICLE, ARTICLE_MEAN = "seed/article", "seed/article_mean"


def grade_matrix(measurements: Source) -> pd.DataFrame:
    """Implementation x dtype: the worst grade in a column named after the dtype, its case in ``<dtype> case``.

    Where nothing could be graded the column holds the status instead.
    """
    found = Measurements.of(measurements)
    # Of equal grades the largest error stands for the cell, and of equal errors the first in the catalogue's order.
    worst_first = f"(-{RANK}, coalesce(-max_ulp, 'infinity'), place)"
    worst = found.sql(
        f"""SELECT {KEYS}, arg_min(grade, {worst_first}) AS grade, arg_min("case", {worst_first}) AS "case"
        FROM measurements WHERE grade IS NOT NULL GROUP BY ALL"""
    )
    ungraded = found.sql(
        f"""SELECT {KEYS}, arg_min(status, place) AS grade, arg_min("case", place) AS "case"
        FROM measurements WHERE status <> 'ok' GROUP BY ALL"""
    )
    both = pd.concat([t for t in (worst, ungraded) if len(t)] or [worst]).drop_duplicates(CELL)
    return by_dtype(found.cells, both, {"grade": "", "case": " case"})


_SIDES = {True: "finite where it should be", False: "not finite where it should not"}


def finiteness(measurements: Source) -> pd.DataFrame:
    """Implementation, mode, device and dtype; the shares, between 0 and 1, with the number of rows behind each."""
    found = Measurements.of(measurements)
    rows = found.sql(
        f"""SELECT {KEYS}, expected_finite AS side, count(*) AS count,
            count(*) FILTER (grade <> 'F' OR finite = expected_finite) AS right
        FROM measurements WHERE grade IS NOT NULL AND expected_finite IS NOT NULL GROUP BY ALL"""
    )
    rows["side"], rows["mean"] = rows["side"].map(_SIDES), rows["right"] / rows["count"]
    mean, count = (rows.pivot(index=CELL, columns="side", values=value) for value in ("mean", "count"))
    shares = mean.join(count.add_prefix("rows ")).rename_axis(columns=None)
    wanted = [*_SIDES.values(), *(f"rows {s}" for s in _SIDES.values())]
    return in_order(found.cells, shares.reindex(columns=wanted).reset_index())


def errors(measurements: Source) -> pd.DataFrame:
    """Median and largest error in ulp of loss and gradient, for each implementation, mode, device and dtype.

    ``<quantity> uncounted`` is the largest of the errors left out as `_uncounted` says, where it is larger than the
    others; missing elsewhere.
    """
    found = Measurements.of(measurements)
    rows = "FROM measurements WHERE grade IS NOT NULL AND quantity IN ('loss', 'gradient') AND max_ulp IS NOT NULL"
    keys = [*CELL, "quantity"]
    largest = found.sql(f"SELECT {KEYS}, quantity, {LARGEST}, {LARGEST_UNCOUNTED} {rows} GROUP BY ALL")
    middle = medians(found, keys, {"median": "ulps"}, f"SELECT {KEYS}, quantity, {COUNTED_ULP} AS ulps {rows}")
    kinds = ["median", "largest", "uncounted"]
    table = largest.merge(middle, on=keys, how="left").pivot(index=CELL, columns="quantity", values=kinds)
    table.columns = [f"{quantity} {kind}" for kind, quantity in pairs(table)]
    wanted = [f"{q} {kind}" for q in ("loss", "gradient") for kind in kinds]
    return in_order(found.cells, table.reindex(columns=wanted).reset_index())


def article(measurements: Source, dtype: str | None = None) -> pd.DataFrame:
    """The article's batch: each row's loss, their mean, and whether each row's gradient is finite.

    Args:
        measurements: those of a run.
        dtype: this one alone; all by default.
    """
    found = Measurements.of(measurements)
    columns = [*CELL, "case", "row", "quantity", "status", "value", "finite", "n_nan"]
    of_batch = plain(found.frame(columns, f"\"case\" IN ('{ARTICLE}', '{ARTICLE_MEAN}') AND {_of(dtype)}"))
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
    return in_order(found.cells, table.reset_index())


def faults(measurements: Source) -> pd.DataFrame:
    """What was not measured: of each implementation each message, in how many cases and dtypes, and the first case.

    A refusal of an invalid target is a result and no fault: see `invalid_targets`.
    """
    found = Measurements.of(measurements)
    table = found.sql(
        f"""SELECT framework, implementation, status, detail, count(DISTINCT "case") AS cases,
            count(DISTINCT dtype) AS dtypes, arg_min("case", place) AS first
        FROM measurements WHERE status <> 'ok' AND family IS DISTINCT FROM '{INVALID}'
        GROUP BY framework, implementation, status, detail ORDER BY min(place)"""
    )
    return in_order(found.cells, table)


def invalid_targets(measurements: Source, dtype: str | None = None) -> pd.DataFrame:
    """Implementation x target that is none of the classes: ``raises``, ``NaN``, ``zero``, ``wraps`` or ``number``.

    Args:
        measurements: those of a run.
        dtype: this one alone; all by default.
    """
    found = Measurements.of(measurements)
    which = f"family = '{INVALID}' AND quantity = 'loss' AND row = 0 AND status <> 'unsupported' AND {_of(dtype)}"
    rows = plain(found.frame([*CELL, "case", "status", "detail"], which))
    if rows.empty:
        return rows
    rows["did"] = [
        Conduct.of_status(status) or conduct_of_detail(detail) or status
        for status, detail in zip(rows["status"], rows["detail"].fillna(""), strict=True)
    ]
    rows["target"] = rows["case"].str.removeprefix(f"{INVALID}/")
    table = rows.pivot(index=CELL, columns="target", values="did")[list(pd.unique(rows["target"]))]
    table.columns.name = None
    return in_order(found.cells, table.reset_index())


def _of(dtype: str | None) -> str:
    return "true" if dtype is None else f"dtype = '{dtype}'"
