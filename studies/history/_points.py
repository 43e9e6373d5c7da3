"""A line for each cell, quantity and version: its grade, its errors, and the share of finite results."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ...core.formats import table_rank
from ...core.vocabulary import GRADES, QUANTITIES, Status
from ..compare import BY_SEVERITY, CELL, KEY, OK, by_case, joined
from ._runs import MeasuredRun
from ._series import Series

COLUMNS = [
    *CELL, "quantity", "version", "run", "grade", "largest_ulp", "median_ulp", "finite", "same_bits", "rows", "graded",
    "failed", "status",
]  # fmt: skip
_OF_CELL = [*CELL, "quantity"]


def points(series: Iterable[Series]) -> pd.DataFrame:
    """Return the points of all series, in the columns `COLUMNS`: cells in their order, versions from old to new."""
    statistics: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}
    equal: dict[tuple[str, str], dict[tuple[str, ...], float]] = {}
    lines: list[dict[str, Any]] = []
    for cell, of_cell in series:
        before: MeasuredRun | None = None
        for place, (run, version) in enumerate(of_cell):
            if run.source.name not in statistics:
                statistics[run.source.name] = _statistics(run)
            pair = (before.source.name if before else "", run.source.name)
            if before is not None and pair not in equal:
                equal[pair] = _same_bits(before, run)
            for quantity in QUANTITIES:
                if (found := statistics[run.source.name].get((*cell, quantity))) is not None:
                    same = equal.get(pair, {}).get((*cell, quantity), np.nan)
                    named = {**cell._asdict(), "quantity": quantity, "version": version, "run": run.name}
                    lines.append({**named, **found, "same_bits": same, "place": place})
            before = run
    table = pd.DataFrame(lines, columns=[*COLUMNS, "place"])
    return table.iloc[_order(table)][COLUMNS].reset_index(drop=True)


def _order(table: pd.DataFrame) -> list[int]:
    keys = zip(table["implementation"], map(table_rank, table["dtype"]), table["device"], table["mode"],
               map(QUANTITIES.index, table["quantity"]), table["place"], strict=True)  # fmt: skip
    return [place for _, place in sorted((key, i) for i, key in enumerate(keys))]


def _statistics(run: MeasuredRun) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the statistics of each cell and quantity of a run."""
    measured = run.source.lines.measured
    found = {}
    for key, of_key in measured.groupby(_OF_CELL, observed=True, sort=False):
        graded = of_key[of_key["grade"] >= 0]
        rows, wrong = int(graded["rows"].sum()), int(graded["wrong"].sum())
        ulp = graded["ulp"].to_numpy(np.float64)
        finite = ulp[np.isfinite(ulp)]
        worst = BY_SEVERITY[int(of_key["status"].max())]
        found[tuple(map(str, key))] = {
            "grade": GRADES[int(graded["grade"].max())] if len(graded) else None,
            "largest_ulp": float(finite.max()) if len(finite) else np.nan,
            "median_ulp": _median(ulp),
            "finite": 1 - wrong / rows if rows else np.nan,
            "rows": int(of_key["rows"].sum()),
            "graded": rows,
            "failed": int(of_key.loc[of_key["status"] != OK, "rows"].sum()),
            "status": str(Status(worst)),
        }
    return found


def _median(ulp: Any) -> float:
    # The mean of the two middle errors would be infinite, or not a number, beside an infinite one.
    return float(np.quantile(ulp, 0.5, method="lower")) if len(ulp) else np.nan


def _same_bits(before: MeasuredRun, after: MeasuredRun) -> dict[tuple[str, ...], float]:
    """Return the share of equal results in bits, for each cell and quantity whose bits both runs have."""
    sides = before.source.lines, after.source.lines
    if any(side.by_case for side in sides):
        sides = by_case(sides[0]), by_case(sides[1])
    both, _, _ = joined(sides[0].measured, sides[1].measured, KEY)
    known = both[both["known"] & both["known new"]]
    shares = (known["bits"] == known["bits new"]).groupby([known[c] for c in _OF_CELL], observed=True).mean()
    return dict(zip((tuple(map(str, key)) for key in shares.index), map(float, shares), strict=True))
