"""What people are shown of a case: its words, and its logits as far as a page has room for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.options import texts
from ._case import Case

MAX_ROWS, MAX_CLASSES = 8, 12


def case_summary_rows(case: Case) -> Iterator[dict[str, Any]]:
    """A line for each of the first rows, as `store.CASES` has it; one without a row for a case that has none."""
    words = {
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
        yield words
    for r in range(min(case.rows, MAX_ROWS)):
        soft = case.targets.ndim == 2
        shown = _classes(case.logits[r], case.targets[r])
        yield words | {
            "row": r,
            "target": None if soft else int(case.targets[r]),
            "shown": shown,
            "logits": case.logits[r, shown].tolist(),
            "probabilities": case.targets[r, shown].tolist() if soft else None,
        }


def _classes(x: NDArray[np.float64], target: Any) -> list[int]:
    """All classes, or of many the targets, the extremes, what is not finite, and the first."""
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
    told = ["class probabilities" if case.targets.ndim == 2 else f"class indices of {case.targets.dtype.name}"]
    told += [f"reduction {case.reduction}"] * (case.reduction != "none")
    told += [f"{words} {value}" for words, value in texts(case.given, MAX_CLASSES)]
    told += [f"layout {case.layout}"] * (case.layout != "rows")
    return "; ".join(told)
