"""The results of calls that are tried on a few narrow batches, and the judgement of those without grades."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.formats import get_format
from ....core.vocabulary import GRADES, Grade, Quantity, Verdict
from ....grading import grade
from ..batches._calls import without_rows
from ..batches._known import rows_differ
from ..batches._presentation import CallKind
from ..batches._rows import PresentedRows
from ._lines import WRONG, Lines, grade_ranks
from ._loss import ShapeError, Traced

Array = NDArray[Any]
Values = Mapping[str, Array]

UNIT = 2.0**-24  # the unit roundoff of float32, for derivatives in float64 too
TOLERANCE = 256 * UNIT  # of a derivative along a direction, for logits near 0
MAX_LOGIT = 16.0  # of rows whose second derivatives are judged: larger ones may round to 0
STEPS = (1.0, -2.0, 0.5, 3.0, -1.5)  # the entries of a direction
COARSE = "bfloat16"  # the dtype of autocast
AUTOCAST_DTYPES = ("float32", COARSE)  # autocast leaves float64 as it is, and PyTorch does not mix float16 with it
# Autocast may round the logits to its dtype, as grade C allows.
WORST_UNDER_AUTOCAST = GRADES.index(Grade.C)


@dataclass(frozen=True, eq=False)
class Judged:
    """Results that are right or wrong.

    Attributes:
        quantity: the quantity to which the lines belong.
        judged, wrong: (B,), the rows that are judged, and those that are wrong; (1,) for a reduced loss.
        value, exact: (B,), the worst number of each row and its exact value.
        out_dtype: the dtype of the result.
    """

    quantity: Quantity
    judged: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    value: NDArray[np.float64] | float = np.nan
    exact: NDArray[np.float64] | float = np.nan
    out_dtype: str | None = None

    def lines(self, rows: PresentedRows) -> Lines:
        """Return a line for each row, without a verdict for one that is not judged."""
        verdict = np.where(self.wrong, WRONG, Verdict.CORRECT.value).astype(object)
        verdict[~self.judged] = None
        whole = rows.options.reduced and self.quantity is Quantity.LOSS and len(self.wrong) == 1
        lines = replace(Lines.of(rows, self.quantity, whole=whole), verdict=verdict, out_dtype=self.out_dtype)
        return replace(lines, value=self.value, exact=self.exact)


# --- graded like any call ---------------------------------------------------------------------------------------


def _transformed(traced: Traced, rows: PresentedRows) -> list[Values]:
    return [traced.transformed(rows.how.call, traced.laid(rows), direction(rows))]


def _in_two_threads(traced: Traced, rows: PresentedRows) -> list[Values]:
    """Return the results of two threads, one of which has the rows in reverse order.

    Of the rounds of a thread, one counts that differs from a call in this thread, if there is any.
    """
    back = np.s_[::-1]
    laid = traced.laid(rows), traced.laid(rows.take(back))
    alone = [traced.both(each) for each in laid]
    rounds = traced.in_threads(laid)
    one, other = (
        next((r for r in results if _differs(r, before)), results[-1])
        for results, before in zip(rounds, alone, strict=True)
    )
    return [one, {name: values[back] if values.ndim else values for name, values in other.items()}]


def _differs(one: Values, other: Values) -> bool:
    return any(rows_differ(np.atleast_1d(one[name]), np.atleast_1d(other[name])).any() for name in one)


# --- right or wrong ---------------------------------------------------------------------------------------------


def direction(rows: PresentedRows) -> Array:
    """Return a direction (B, C) in the dtype, the same in each row."""
    return np.broadcast_to(np.resize(STEPS, rows.classes), rows.logits.shape).astype(rows.logits.dtype)


def exact_slope(rows: PresentedRows) -> NDArray[np.float64]:
    """Return the derivatives (B,) of the losses along the direction."""
    with np.errstate(invalid="ignore"):
        slope: NDArray[np.float64] = (rows.exact.gradient.hi * direction(rows).astype(np.float64)).sum(axis=1)
    return slope


def exact_second(rows: PresentedRows) -> NDArray[np.float64]:
    """Return the second derivatives (B, C) times the direction: ``p * (v - p . v)``, divided in a mean."""
    p, v = rows.exact.probabilities.hi, direction(rows).astype(np.float64)
    with np.errstate(invalid="ignore"):
        second: NDArray[np.float64] = rows.exact.scale * p * (v - (p * v).sum(axis=1, keepdims=True))
    return second


def exact_derivative(rows: PresentedRows) -> NDArray[np.float64]:
    """Return the exact derivative that the call gives."""
    return exact_slope(rows) if rows.how.call is CallKind.JVP else exact_second(rows)


def _along_a_direction(traced: Traced, rows: PresentedRows) -> list[Judged]:
    return _near(traced, rows, "slope")


def _twice_differentiated(traced: Traced, rows: PresentedRows) -> list[Judged]:
    return _near(traced, rows, "second")


def _size(rows: PresentedRows) -> NDArray[np.float64]:
    """Return the largest absolute logit (B,) of each row; infinite if not all are finite."""
    x = rows.logits.astype(np.float64)
    size: NDArray[np.float64] = np.abs(np.where(np.isfinite(x), x, np.inf)).max(axis=1, initial=0.0)
    return size


def _ordinary(rows: PresentedRows) -> NDArray[np.bool_]:
    return (_size(rows) <= MAX_LOGIT) & rows.exact.defined & ~rows.features.has_ties


def _near(traced: Traced, rows: PresentedRows, name: str) -> list[Judged]:
    """Judge whether a derivative is near its exact value, on ordinary rows of float32 and float64."""
    judged = _ordinary(rows)
    if rows.fmt.unit_roundoff > UNIT or not judged.any():
        return []
    found = traced.transformed(rows.how.call, traced.laid(rows), direction(rows))[name]
    return [_near_the_exact(rows, judged, found)]


def _near_the_exact(rows: PresentedRows, judged: NDArray[np.bool_], found: Array) -> Judged:
    given, wanted = (a.reshape(len(rows), -1).astype(np.float64) for a in (found, exact_derivative(rows)))
    error = np.where(judged[:, None], np.nan_to_num(np.abs(given - wanted), nan=np.inf), 0.0)
    worst = np.arange(len(rows)), error.argmax(axis=1)
    wrong = error[worst] > TOLERANCE * (1 + _size(rows)) * max(map(abs, STEPS)) * rows.exact.scale
    return Judged(Quantity.GRADIENT, judged, wrong & judged, given[worst], wanted[worst], found.dtype.name)


def _under_autocast(traced: Traced, rows: PresentedRows) -> list[Judged]:
    """Judge whether results are right to the rounding of the logits to bfloat16, by grade C of either dtype."""
    if rows.fmt.name not in AUTOCAST_DTYPES:
        return []
    values = traced.transformed(rows.how.call, traced.laid(rows), direction(rows))
    return [_right_in_either(rows, Quantity(name), found) for name, found in values.items()]


def _right_in_either(rows: PresentedRows, quantity: Quantity, found: Array) -> Judged:
    own = rows.grade(quantity, found)
    coarse = grade(
        quantity, found, rows.logits, get_format(COARSE), rows.exact,
        reduction=rows.options.reduction, row_losses=rows.row_losses,
    )  # fmt: skip
    ranks = np.minimum(grade_ranks(np.asarray(own.grade, object)), grade_ranks(np.asarray(coarse.grade, object)))
    wanted = (rows.exact.loss if quantity == Quantity.LOSS else rows.exact.gradient).hi.reshape(len(ranks), -1)
    given = found.reshape(len(ranks), -1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.where(given == wanted, 0.0, np.nan_to_num(np.abs(given - wanted), nan=np.inf))
    worst = np.arange(len(ranks)), error.argmax(axis=1)
    wrong = ranks > WORST_UNDER_AUTOCAST
    return Judged(quantity, ranks >= 0, wrong, given[worst], wanted[worst], found.dtype.name)


def _empty(traced: Traced, rows: PresentedRows) -> list[Judged]:
    """Call the loss on an empty batch: losses of another shape raise an error, and a gradient may have no rows."""
    found = traced.both(traced.laid(without_rows(rows)))
    gradient = found.get("gradient")
    if gradient is not None and gradient.shape != (0, rows.classes):
        raise ShapeError(f"the gradient has shape {gradient.shape}; expected (0, {rows.classes})")
    right = np.zeros(len(rows), bool)
    return [Judged(Quantity(name), ~right, right, out_dtype=values.dtype.name) for name, values in found.items()]


def judge_printed(rows: PresentedRows, quantity: Quantity, printed: Array) -> Judged | None:
    """Judge what a program of a failure printed; None for a result that gets a grade."""
    match rows.how.call:
        case CallKind.JVP | CallKind.SECOND:
            return _near_the_exact(rows, _ordinary(rows), printed)
        case CallKind.AUTOCAST:
            return _right_in_either(rows, quantity, printed)
        case CallKind.EMPTY:
            expected = (0,) if quantity == Quantity.LOSS else (0, rows.classes)
            judged = np.ones(len(rows), bool)
            return Judged(quantity, judged, judged & (tuple(printed.astype(int).tolist()) != expected))
    return None


VALUES: dict[CallKind, Callable[[Traced, PresentedRows], list[Values]]] = {
    CallKind.INFERENCE: _transformed,
    CallKind.VMAP: _transformed,
    CallKind.GRAD: _transformed,
    CallKind.THREADS: _in_two_threads,
}
COMPARED: dict[CallKind, Callable[[Traced, PresentedRows], list[Judged]]] = {
    CallKind.JVP: _along_a_direction,
    CallKind.SECOND: _twice_differentiated,
    CallKind.AUTOCAST: _under_autocast,
    CallKind.EMPTY: _empty,
}
