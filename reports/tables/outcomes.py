"""Results of single calls: the article's batch row by row, failed calls, and invalid targets."""

import pandas as pd

from ...core.invalid_targets import conduct_of_detail
from ...core.vocabulary import Conduct
from ...storage.querying import Measurements
from .ordering import CELL, in_order, without_categories

INVALID = "invalid"
ARTICLE, ARTICLE_MEAN = "seed/article", "seed/article_mean"


def article(measurements: Measurements | pd.DataFrame, dtype: str | None = None) -> pd.DataFrame:
    """Return the article's batch in one dtype or all: each row's loss, their mean, and if each gradient is finite."""
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
    """Return each message of each implementation, with its number of cases and dtypes and its first case.

    An error for an invalid target is a result, not a fault: see `invalid_targets`.
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
    """Return what each implementation does with each invalid target, in one dtype or in all.

    The words are ``raises``, ``NaN``, ``zero``, ``wraps`` and ``number``.
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
