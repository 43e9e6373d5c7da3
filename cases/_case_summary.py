"""Summarize a case for reports: its texts, and as many of its logits as fit on a page."""

from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..core.options import option_texts
from ._case import Case
from ._linear_case import LinearCase

MAX_ROWS, MAX_CLASSES = 8, 12


class CaseSummaryRow(TypedDict, total=False):
    """One of a case's first rows, in the columns of `cases.parquet`; up to ``classes`` for a case without rows."""

    case: str
    family: str
    why: str
    source: str | None
    reported: str | None
    tags: str
    options: str
    rows: int
    classes: int
    row: int
    target: int | None
    shown: list[int]
    logits: list[float]
    probabilities: list[float] | None


def case_summary_rows(case: Case) -> Iterator[CaseSummaryRow]:
    """Yield a record for each of the first rows, or one record for a case without rows."""
    summary: CaseSummaryRow = {
        "case": case.id,
        "family": case.family,
        "why": case.why,
        "source": case.source,
        "reported": case.reported,
        "tags": ", ".join(case.tags),
        "options": _options(case),
        "rows": case.rows,
        "classes": case.classes,
    }
    if case.rows == 0:
        yield summary
    for r in range(min(case.rows, MAX_ROWS)):
        soft = case.targets.ndim == 2
        shown = _classes(case.logits[r], case.targets[r])
        yield {
            **summary,
            "row": r,
            "target": None if soft else int(case.targets[r]),
            "shown": shown,
            "logits": case.logits[r, shown].tolist(),
            "probabilities": case.targets[r, shown].tolist() if soft else None,
        }


def _classes(x: NDArray[np.float64], target: Any) -> list[int]:
    """Return all classes, or for many the targets, the extremes, some that are not finite, and the first ones."""
    if x.size <= MAX_CLASSES:
        return list(range(x.size))
    largest = np.argsort(-target, kind="stable")[:4] if np.ndim(target) else np.array([target])
    wanted = [j for j in largest.tolist() if 0 <= j < x.size]
    finite = np.flatnonzero(np.isfinite(x))
    if finite.size:
        wanted += [int(finite[x[finite].argmax()]), int(finite[x[finite].argmin()])]
    wanted += np.flatnonzero(~np.isfinite(x))[:2].tolist()
    return sorted(list(dict.fromkeys([*wanted, *range(MAX_CLASSES)]))[:MAX_CLASSES])


def _options(case: Case) -> str:
    parts = [case.shapes] if isinstance(case, LinearCase) else []
    parts += ["class probabilities" if case.targets.ndim == 2 else f"class indices of {case.targets.dtype.name}"]
    parts += [f"reduction {case.reduction}"] * (case.reduction != "none")
    parts += [f"{title} {value}" for title, value in option_texts(case.set_options, MAX_CLASSES)]
    parts += [f"layout {case.layout}"] * (case.layout != "rows")
    return "; ".join(parts)
