"""Rows through the loss: one line a row and quantity, as in the measurements table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..grading import GRADES, Graded, grade
from ..worker import Outcome
from ._features import features
from ._loss import Candidate
from ._rows import Rows

Array = NDArray[Any]

AGAIN = "called again"
WEIGHTED = "its losses weighted"
# Upstream gradients: powers of two, so that what they multiply has the same digits, and none below 1, which would push
# small entries under the smallest number.
FACTORS = (1.0, -1.0, 2.0, -4.0, 8.0)


def measure(candidate: Candidate, rows: Rows) -> pd.DataFrame:
    """The rows as they are presented, each quantity graded."""
    if rows.how == AGAIN:
        return _twice(candidate, rows)
    if rows.how == WEIGHTED:
        return _weighted(candidate, rows)
    batches = rows.batches
    lines = _lines(rows, _together([candidate.call(batch) for batch in batches]))
    if not _same(np.concatenate([batch.logits for batch in batches]), rows.logits):
        lines = pd.concat([lines, _told(rows, "raised", "the loss writes into its logits")])
    return lines


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """The calls of one batch as one; the first fault is that of all."""
    fault = next((o for o in outcomes if o.status != "ok"), None)
    if fault is not None or len(outcomes) == 1:
        return fault or outcomes[0]
    parts = [dict(o.values) for o in outcomes]
    return Outcome(tuple((q, np.concatenate([part[q] for part in parts])) for q in parts[0]))


def _twice(candidate: Candidate, rows: Rows) -> pd.DataFrame:
    """The rows twice: lines for those of a quantity whose bits differ, status ``ok`` and verdict ``differs``."""
    first, second = (dict(_together([candidate.call(b) for b in rows.batches]).values) for _ in range(2))
    found = []
    for quantity in first.keys() & second.keys():
        differ = np.array([not _same(a, b) for a, b in zip(first[quantity], second[quantity], strict=True)])
        lines = pd.DataFrame(_who(rows) | {"how": AGAIN, "quantity": quantity, "status": "ok"})
        found.append(lines.assign(grade=None, verdict=np.where(differ, "differs", "correct")))
    return pd.concat(found) if found else columns()


def _weighted(candidate: Candidate, rows: Rows) -> pd.DataFrame:
    """The gradient of the losses weighted by `FACTORS`, over them: the gradient itself, if it is passed on rightly."""
    if not candidate.can_be_weighted:
        return columns()
    factors = np.resize(FACTORS, len(rows))
    (batch,) = rows.batches
    outcome = candidate.call(batch, factors.astype(rows.logits.dtype))
    unweighted = tuple((q, a.astype(np.float64) / factors[:, None]) for q, a in outcome.values if q == "gradient")
    kept = Outcome(unweighted, tuple(q for q in outcome.lacking if q == "gradient"), outcome.status, outcome.detail)
    return _lines(rows, kept)


def fails(lines: pd.DataFrame, required: str) -> NDArray[np.bool_]:
    """Which lines fall short of a grade, or have none because the loss raised or gave other bits."""
    rank = lines["grade"].map({g: i for i, g in enumerate(GRADES)})
    worse = (rank > GRADES.index(required)).to_numpy(bool)
    other = ~lines["status"].isin(["ok", "unsupported"]) | (lines["verdict"] == "differs")
    return worse | other.to_numpy(bool)


def _lines(rows: Rows, outcome: Outcome) -> pd.DataFrame:
    found = list(_graded(rows, outcome))
    if outcome.status != "ok" and (outcome.lacking or not outcome.values):
        found.append(_told(rows, outcome.status, outcome.detail))
    return pd.concat(found, ignore_index=True) if found else columns()


def _graded(rows: Rows, outcome: Outcome) -> Iterator[pd.DataFrame]:
    for quantity, array in outcome.values:
        graded: Graded = grade(quantity, array, rows.logits, rows.fmt, rows.exact)
        known = _who(rows) | vars(graded) | {"how": rows.how, "quantity": quantity, "status": "ok"}
        known["out_dtype"] = array.dtype.name
        if quantity == "loss":
            known |= {"value": array.astype(np.float64), "exact": rows.exact.loss.hi}
        yield pd.DataFrame(known)


def _told(rows: Rows, status: str, detail: str) -> pd.DataFrame:
    quantity = "loss" if "gradient" not in detail else "gradient"
    told = {"how": rows.how, "quantity": quantity, "status": status, "grade": None, "verdict": None, "detail": detail}
    return pd.DataFrame(_who(rows) | told)


def _who(rows: Rows) -> dict[str, Any]:
    return {
        "dtype": rows.fmt.name,
        "case": [case.id for case in rows.cases],
        "row": rows.numbers,
        "classes": rows.classes,
        "target": rows.targets,
        **features(rows),
    }


def _same(one: Array, other: Array) -> bool:
    """Whether all bits are the same, all NaN taken for one."""
    return one.shape == other.shape and np.ascontiguousarray(_quiet(one)).tobytes() == _quiet(other).tobytes()


def _quiet(values: Array) -> Array:
    return np.ascontiguousarray(np.where(np.isnan(values), values.dtype.type(np.nan), values))


def columns() -> pd.DataFrame:
    """No lines at all, with every column that a line can have."""
    names = (
        "dtype", "case", "row", "classes", "target", "quantity", "how", "status", "grade", "verdict", "value", "exact",
        "max_abs", "max_rel", "max_ulp", "out_dtype", "detail", "finite", "expected_finite",
    )  # fmt: skip
    return pd.DataFrame(columns=list(names))
