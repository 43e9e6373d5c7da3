"""Cases measured as a run measures them: grouped by width, one call a group, and every row scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from ...cases import Case
from ...core.formats import Format
from ...execution.plan import Cell, Group, PlannedCall, groups
from ...execution.pool import Pools
from ._score import NO_ANSWER, NOT_GRADED, severity
from ._trials import FAULTS

COLUMNS = (
    "case", "row", "classes", "target", "quantity", "status", "grade", "verdict", "of_bound", "max_ulp",
    "value", "exact", "detail", "score",
)  # fmt: skip


def measured(
    pools: Pools, cell: Cell, cases: Sequence[Case], fmt: Format, quantities: Sequence[str], measure: str
) -> pd.DataFrame:
    """One line for each row and quantity of cases without loss options, with the columns `COLUMNS`.

    ``value`` and ``exact`` are the loss's, ``score`` is what `severity` compares by.
    """
    lines: list[dict[str, Any]] = []
    for call, outcome in pools.evaluate([PlannedCall(cell, group) for group in groups(cases, fmt)]):
        given = dict(outcome.values)
        for quantity in quantities:
            rows = list(_rows(call.group, quantity))
            if quantity in given:
                lines += _graded(rows, quantity, given[quantity], call.group, measure)
            else:
                score = NO_ANSWER if outcome.status in FAULTS else NOT_GRADED
                lines += [row | {"status": outcome.status, "detail": outcome.detail, "score": score} for row in rows]
    table = pd.DataFrame(lines, columns=list(COLUMNS))
    # Calls end in any order.
    order = {case.id: i for i, case in enumerate(cases)}
    return table.sort_values("case", key=lambda ids: ids.map(order), kind="stable").reset_index(drop=True)


def _rows(group: Group, quantity: str) -> Iterator[dict[str, Any]]:
    for case in group.cases:
        for r in range(case.rows):
            yield {
                "case": case.id, "row": r, "classes": case.classes, "target": int(case.targets[r]), "quantity": quantity
            }  # fmt: skip


def _graded(
    rows: Sequence[dict[str, Any]], quantity: str, computed: Any, group: Group, measure: str
) -> Iterator[dict[str, Any]]:
    found = severity(quantity, computed, group.logits, group.fmt, group.exact, measure)
    for r, row in enumerate(rows):
        known = {
            "status": "ok", "grade": found.graded.grade[r], "verdict": str(found.graded.verdict[r]),
            "of_bound": float(found.of_bound[r]), "max_ulp": float(found.graded.max_ulp[r]),
            "score": float(found.score[r]),
        }  # fmt: skip
        if quantity == "loss":
            known |= {"value": float(computed[r]), "exact": float(group.exact.loss.hi[r])}
        yield row | known


def worst(table: pd.DataFrame) -> pd.DataFrame:
    """Of each quantity the line with the largest score; a quantity without a score is left out."""
    scored = table[table["score"] > NOT_GRADED]
    return scored.loc[scored.groupby("quantity", sort=False)["score"].idxmax()].reset_index(drop=True)
