"""Rows through the loss: one line a row and quantity, as in the measurements table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.vocabulary import GRADES
from ...execution.worker import Outcome
from ...grading import Graded, grade
from ...oracle import Exact
from ._features import FEATURES, features
from ._loss import Candidate, Traced
from ._presentation import Argument, Arrangement, CallKind
from ._rows import SHARE, Rows

Array = NDArray[Any]
# Columns by name, each an array of as many values as there are lines, or one value for all of them.
Lines = dict[str, Any]


def measure(candidate: Candidate, rows: Rows) -> pd.DataFrame:
    """The rows as they are presented, each quantity graded."""
    return table(measured(candidate, rows))


def measured(candidate: Candidate, rows: Rows) -> list[Lines]:
    """The same, before it is made a table."""
    special = _CALLS.get(rows.how.call) or _IN_MEMORY.get(rows.how.arrangement)
    if special is None:
        return _plainly(candidate, rows)
    if candidate.words is None or candidate.cannot & {rows.how.call, rows.how.arrangement}:
        return []
    with candidate.traced(rows) as traced:
        found = special(traced, rows)
    if traced.fault is not None:
        return [_told(rows, *traced.fault)]
    if traced.written is not None:
        found.append(_written(rows, traced.written))
    return found


def _plainly(candidate: Candidate, rows: Rows) -> list[Lines]:
    batches = rows.batches
    found = _lines(rows, _together([candidate.call(batch, rows.options) for batch in batches]))
    if _differ(np.concatenate([batch.logits for batch in batches]), rows.logits).any():
        found.append(_written(rows, Argument.LOGITS))
    return found


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """The calls of one batch as one; the first fault is that of all."""
    fault = next((o for o in outcomes if o.status != "ok"), None)
    if fault is not None or len(outcomes) == 1:
        return fault or outcomes[0]
    parts = [dict(o.values) for o in outcomes]
    return Outcome(tuple((q, np.concatenate([part[q] for part in parts])) for q in parts[0]))


# --- calls of another kind --------------------------------------------------------------------------------------


def _again(traced: Traced, rows: Rows) -> list[Lines]:
    """The same arrays twice: lines for those of a quantity whose bits differ, status ``ok`` and verdict ``differs``."""
    laid = traced.laid(rows)
    first, second = (traced.both(laid) for _ in range(2))
    return [_compared(rows, quantity, first[quantity], second[quantity]) for quantity in first]


def _compared(rows: Rows, quantity: str, one: Array, other: Array) -> Lines:
    defined = rows.exact.defined if one.ndim else np.atleast_1d(rows.exact.defined.all())
    differ = _differ(np.atleast_1d(one), np.atleast_1d(other)) & defined
    told = {"quantity": quantity, "status": "ok", "verdict": np.where(differ, "differs", "correct")}
    return _who(rows, whole=one.ndim == 0) | told


def _weighted(traced: Traced, rows: Rows) -> list[Lines]:
    """The gradient of the losses weighted, each of them by its own factor."""
    weights = rows.weights if rows.weights is not None else np.ones(len(rows), rows.logits.dtype)
    size = rows.per_call or len(rows)
    parts = [slice(i, i + size) for i in range(0, len(rows), size)]
    gradient = np.concatenate([traced.gradient(traced.laid(rows.take(part)), weights[part]) for part in parts])
    return _graded_over(rows, gradient, weights)


def _graded_over(rows: Rows, gradient: Array, weights: Array) -> list[Lines]:
    """The gradient of weighted losses, graded as that of the losses."""
    factors = weights.astype(np.float64)[:, None]
    ordinary = np.isfinite(factors) & (factors != 0)
    # Entries that fall below the smallest number before they are multiplied stay so, and those that fall below it by
    # being multiplied do: the bounds allow for that number before, or after.
    # A negative factor is divided by whole, or by its sign: what is graded has the signs of an unweighted gradient.
    size = np.abs(factors)
    before = np.where(ordinary, np.where(size >= 1, factors, np.sign(factors)), 1.0)
    after = np.where(ordinary & (size < 1), size, 1.0)
    wanted = rows.exact.gradient
    exact = replace(rows.exact, gradient=Exact(wanted.hi * after, wanted.lo * after), scale=rows.exact.scale * after)
    with np.errstate(invalid="ignore"):
        divided = gradient.astype(np.float64) / before
    graded = grade("gradient", divided, rows.logits, rows.fmt, exact)
    found = _who(rows) | vars(graded) | {"quantity": "gradient", "status": "ok", "out_dtype": gradient.dtype.name}
    found = _without_value(found, gradient, factors[:, 0])
    return [found if rows.distinct is None else _worst_of_each(found, rows.distinct)]


def _without_value(found: Lines, gradient: Array, factors: Array) -> Lines:
    """Of a row that weighs nothing the gradient is zero; of one whose upstream gradient is NaN some of it is NaN."""
    g = gradient.astype(np.float64)
    graded = np.array(found["grade"], object)
    known = graded != np.array(None)
    nothing, lost = (factors == 0) & known, np.isnan(factors) & known
    wrong = (nothing & (g != 0).any(axis=1)) | (lost & ~np.isnan(g).any(axis=1))
    verdict = np.array(found["verdict"], object)
    graded[nothing | lost], verdict[nothing | lost] = "A", "correct"
    graded[wrong] = "F"
    verdict[wrong] = np.where(lost, "swallowed", np.where(np.isnan(g).any(axis=1), "nan", "lost"))[wrong]
    return found | {"grade": graded, "verdict": verdict}


def _summed(traced: Traced, rows: Rows) -> list[Lines]:
    """The gradient of half their sum, which hands down one number for all rows."""
    gradient = traced.gradient(traced.laid(rows), SHARE)
    return _graded_over(rows, gradient, np.full(len(rows), SHARE, rows.logits.dtype))


def _untracked(traced: Traced, rows: Rows) -> list[Lines]:
    return _graded(rows, {"loss": traced.untracked(traced.laid(rows))})


def _as_it_lies(traced: Traced, rows: Rows) -> list[Lines]:
    return _graded(rows, traced.both(traced.laid(rows)))


def _differentiated_twice(traced: Traced, rows: Rows) -> list[Lines]:
    """Two gradients of one loss, which are the same bits. One that refuses, with an error, says enough."""
    weights = rows.weights if rows.weights is not None else np.ones(len(rows), rows.logits.dtype)
    try:
        first, second = traced.two_gradients(traced.laid(rows), weights)
    except Exception:  # whatever a loss raises
        return []
    return [_compared(rows, "gradient", first, second)]


def _another_between(traced: Traced, rows: Rows) -> list[Lines]:
    """Loss and gradient of a batch, both looked at after another batch has had its turn."""
    other = traced.laid(_other(rows))
    return _graded(rows, traced.both(traced.laid(rows), between=lambda: traced.both(other)))


def _other(rows: Rows) -> Rows:
    """A batch of the same shape with other numbers, without a copy of its exact answer."""
    return replace(rows, logits=rows.logits[::-1, ::-1].copy(), targets=rows.classes - 1 - rows.targets)


_CALLS: dict[CallKind, Callable[[Traced, Rows], list[Lines]]] = {
    CallKind.AGAIN: _again,
    CallKind.WEIGHTED: _weighted,
    CallKind.SUMMED: _summed,
    CallKind.UNTRACKED: _untracked,
    CallKind.TWICE: _differentiated_twice,
    CallKind.BETWEEN: _another_between,
}
_IN_MEMORY = {Arrangement.SLICED: _as_it_lies, Arrangement.EVERY_OTHER: _as_it_lies}


# --- lines ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Required:
    """The worst grades that pass."""

    loss: str
    gradient: str

    def __str__(self) -> str:
        same = self.loss == self.gradient
        return f"grade {self.loss}" if same else f"grade {self.loss} of the loss and {self.gradient} of the gradient"


def fails(lines: pd.DataFrame, required: Required) -> NDArray[np.bool_]:
    """Which lines fall short of a grade, or have none because the loss raised or gave other bits."""
    order = {g: i for i, g in enumerate(GRADES)}
    worst = lines["quantity"].map({"loss": order[required.loss], "gradient": order[required.gradient]})
    worse = (lines["grade"].map(order).astype(float) > worst.astype(float)).to_numpy(bool)
    other = ~lines["status"].isin(["ok", "unsupported"]) | (lines["verdict"] == "differs")
    return worse | other.to_numpy(bool)


def _lines(rows: Rows, outcome: Outcome) -> list[Lines]:
    found = _graded(rows, dict(outcome.values))
    if outcome.status != "ok" and (outcome.lacking or not outcome.values):
        found.append(_told(rows, outcome.status, outcome.detail))
    return found


def _graded(rows: Rows, values: dict[str, Array]) -> list[Lines]:
    return list(_each_graded(rows, values))


def _each_graded(rows: Rows, values: dict[str, Array]) -> Iterator[Lines]:
    for quantity, array in values.items():
        graded: Graded = grade(
            quantity, array, rows.logits, rows.fmt, rows.exact,
            reduction=rows.options.reduction, row_losses=rows.row_losses,
        )  # fmt: skip
        known = (
            _who(rows, whole=quantity == "loss" and rows.options.reduced)
            | vars(graded)
            | {"quantity": quantity, "status": "ok", "out_dtype": array.dtype.name}
        )
        if quantity == "loss":
            known |= {"value": np.atleast_1d(array.astype(np.float64)), "exact": np.atleast_1d(rows.exact.loss.hi)}
        yield known if rows.distinct is None else _worst_of_each(known, rows.distinct)


def _worst_of_each(lines: Lines, distinct: NDArray[np.intp]) -> Lines:
    """Of the lines of one row that is there many times the worst: a large batch is more than a table has to hold."""
    rank = np.array([-1 if g is None else GRADES.index(g) for g in lines["grade"]])
    order = np.lexsort((-rank, distinct))
    first = order[np.unique(distinct[order], return_index=True)[1]]
    return {name: v[first] if isinstance(v, np.ndarray) else v for name, v in lines.items()}


def _told(rows: Rows, status: str, detail: str) -> Lines:
    quantity = "loss" if "gradient" not in detail else "gradient"
    told = {"quantity": quantity, "status": status, "detail": detail}
    return _who(rows) | told


def _written(rows: Rows, argument: Argument) -> Lines:
    return _told(rows, "raised", argument.written) | {"written": argument}


def _who(rows: Rows, *, whole: bool = False) -> Lines:
    """What the lines of the rows are of; of a reduced loss, which is that of the whole batch, there is one line."""
    known = {
        "dtype": rows.fmt.name,
        "case": rows.ids,
        "row": rows.numbers,
        "classes": np.full(len(rows), rows.classes),
        "target": rows.targets,
        "place": np.arange(len(rows)),
        "how": str(rows.how),
        "call": rows.how.call,
        "arrangement": rows.how.arrangement,
        "options": ", ".join(rows.options.names),
        **features(rows),
    }
    if not whole:
        return known
    one = {name: value[:1] if isinstance(value, np.ndarray) else value for name, value in known.items()}
    return one | {"row": np.array([-1]), "target": np.array([-1]), "case": np.array([rows.cases[0].id], object)}


def _differ(one: Array, other: Array) -> NDArray[np.bool_]:
    """Which rows differ in a bit, all NaN taken for one."""
    bits = f"u{one.dtype.itemsize}"
    differ = (one.view(bits) != other.view(bits)) & ~(np.isnan(one) & np.isnan(other))
    found: NDArray[np.bool_] = differ.reshape(len(one), -1).any(axis=1)
    return found


_WORDS = (
    "dtype", "case", "quantity", "how", "call", "arrangement", "options", "status", "grade", "verdict", "out_dtype",
    "detail", "written",
)  # fmt: skip
_WHOLE = ("row", "classes", "target", "place")
_REAL = ("value", "exact", "max_abs", "max_rel", "max_ulp")
_TRUTH = ("finite", "expected_finite")


def table(found: Sequence[Lines]) -> pd.DataFrame:
    """All lines in one table, with every column that a line can have."""
    sizes = [len(lines["row"]) for lines in found]

    def joined(name: str, dtype: Any, lacking: Any) -> Array:
        parts = [
            np.full(size, value, dtype) if not isinstance(value := lines.get(name, lacking), np.ndarray) else value
            for lines, size in zip(found, sizes, strict=True)
        ]
        return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)

    columns: dict[str, Any] = {name: pd.Series(joined(name, object, None), dtype=object) for name in _WORDS}
    columns |= {name: joined(name, np.int64, 0) for name in _WHOLE}
    columns |= {name: joined(name, np.float64, np.nan) for name in _REAL}
    columns |= {name: pd.Series(joined(name, object, None), dtype=object) for name in _TRUTH}
    columns |= {name: joined(name, bool, False) for name in FEATURES}
    return pd.DataFrame(columns)
