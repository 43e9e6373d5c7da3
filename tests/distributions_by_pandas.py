"""The distributions of errors by pandas, written from their definition in docs/concepts/distributions.md."""

import numpy as np
import pandas as pd

from logitlab.core.formats import FORMATS
from logitlab.reports.tables.ordering import without_categories

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}


def left_out(rows):
    """Return which rows have an error that no grade counts."""
    limit = {d: 8 - 2 * np.log(2 * f.smallest_normal) for d, f in FORMATS.items()}
    of_sum = {d: 2 * min(1.0, 2.0**-24 / f.unit_roundoff) for d, f in FORMATS.items()}
    allowed = rows["dtype"].map(limit) + rows["dtype"].map(of_sum) * np.sqrt(rows["classes"].astype(float))
    of_format = {d: (f.smallest_normal, f.unit_roundoff) for d, f in FORMATS.items()}
    smallest, roundoff = (rows["dtype"].map({d: pair[i] for d, pair in of_format.items()}) for i in (0, 1))
    within = rows["max_abs"] * (1 - allowed / rows["max_ulp"]) <= smallest
    within |= rows["max_ulp"] * roundoff > rows["max_rel"]
    found = (rows["grade"] == "A") & (rows["row"] >= 0) & (rows["max_ulp"] > allowed) & within
    return found & (rows["max_ulp"] < np.inf)


def distribution(df, keys):
    """Return the statistics of each group of the graded rows of a measurements table."""
    rows = without_categories(df[df["grade"].notna()]).reset_index(drop=True)
    swept = rows["family"].str.startswith("sweep_")
    rows["axis"] = rows["family"].str.removeprefix("sweep_").where(swept)
    rows["along"] = rows["case"].str.rsplit("/", n=1).str[-1].where(swept).astype(float)
    rows = rows.dropna(subset=list(keys))
    finite, out = np.isfinite(rows["max_ulp"]), left_out(rows)
    ulps = rows["max_ulp"].where(finite & ~out)
    signed = rows["signed_ulp"].where((rows["max_ulp"] <= 1000) & ~out & np.isfinite(rows["signed_ulp"]))
    entries = rows["classes"].where(rows["quantity"] != "loss", 1).astype(float)
    entries = entries.where(~rows["quantity"].isin(["gradient_hidden", "gradient_weight"]))
    columns = {
        "rows": ("dtype", "size"), "failed": (~finite, "mean"), "uncounted": (out, "mean"), "counted": (ulps, "count"),
        "median": (ulps, "median"), "p90": (ulps, "median"), "p99": (ulps, "median"), "largest": (ulps, "max"),
        **{f"beyond {n}": ((ulps > n).astype(float).where(ulps.notna()), "mean") for n in (1, 10, 1000)},
        "bias": (signed, "mean"),
        "too large": ((signed > 0).astype(float).where(signed.notna()), "mean"),
        "too small": ((signed < 0).astype(float).where(signed.notna()), "mean"),
    }  # fmt: skip
    named = rows[list(keys)].copy()
    wanted = {}
    for i, (name, (values, how)) in enumerate(columns.items()):
        named[f"v{i}"] = rows[values] if isinstance(values, str) else values
        wanted[name] = (f"v{i}", how)
    named["zeros"] = rows["n_zeroed"].astype(float).where(entries.notna())
    named["entries"] = entries.where(rows["n_zeroed"].notna())
    groups = named.groupby(list(keys), sort=False)
    table = groups.agg(**wanted)
    for i, name in enumerate(columns):
        if name in QUANTILES:
            table[name] = groups[f"v{i}"].quantile(QUANTILES[name])
    table["zeroed"] = groups["zeros"].sum(min_count=1) / groups["entries"].sum(min_count=1)
    return table.reset_index()


def written_from(df, keys, quantities=("loss", "gradient")):
    """Return the distribution of some quantities."""
    return distribution(df[df["quantity"].isin(quantities)], keys) if len(df) else pd.DataFrame()
