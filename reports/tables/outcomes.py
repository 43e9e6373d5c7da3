"""What became of single calls: the article's batch row by row, what was not measured, targets that are no class."""

import pandas as pd

from ...core.invalid_targets import conduct_of_detail
from ...core.vocabulary import Conduct
from ...storage.querying import Measurements
from .ordering import CELL, in_order, without_categories

INVALID = "invalid"
ARTICLE, ARTICLE_MEAN = "seed/article", "seed/article_mean"


def article(measurements: Measurements | pd.DataFrame, dtype: str | None = None) -> pd.DataFrame:
    """The article's batch: each row's loss, their mean, and whether each row's gradient is finite.

    Of one dtype, or of all.
    """
    found = Measurements.of(measurements)
    columns = [*CELL, "case", "row", "quantity", "status", "value", "finite", "n_nan"]
    of_batch = without_categories(found.frame(columns, f"\"case\" IN ('{ARTICLE}', '{ARTICLE_MEAN}') AND {_of(dtype)}"))
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


def faults(measurements: Measurements | pd.DataFrame) -> pd.DataFrame:
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


def invalid_targets(measurements: Measurements | pd.DataFrame, dtype: str | None = None) -> pd.DataFrame:
    """Implementation x target that is none of the classes: ``raises``, ``NaN``, ``zero``, ``wraps`` or ``number``.

    Of one dtype, or of all.
    """
    found = Measurements.of(measurements)
    which = f"family = '{INVALID}' AND quantity = 'loss' AND row = 0 AND status <> 'unsupported' AND {_of(dtype)}"
    rows = without_categories(found.frame([*CELL, "case", "status", "detail"], which))
    if rows.empty:
        return rows
    rows["did"] = [
        str(Conduct.of_status(status) or conduct_of_detail(detail) or status)
        for status, detail in zip(rows["status"], rows["detail"].fillna(""), strict=True)
    ]
    rows["target"] = rows["case"].str.removeprefix(f"{INVALID}/")
    table = rows.pivot(index=CELL, columns="target", values="did")[list(pd.unique(rows["target"]))]
    table.columns.name = None
    return in_order(found.cells, table.reset_index())


def _of(dtype: str | None) -> str:
    return "true" if dtype is None else f"dtype = '{dtype}'"
