"""The measurement of rows: a line for each row and quantity, as in the measurements table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.vocabulary import Grade, Quantity, Status, Verdict
from ...execution.worker import Outcome
from ...grading import Graded, grade
from ...oracle import Exact
from ._again import SHARE
from ._known import distinct_rows, rows_differ
from ._lines import DIFFERS, Lines, grade_ranks
from ._loss import Candidate, Traced
from ._presentation import Argument, Arrangement, CallKind
from ._rows import PresentedRows

Array = NDArray[Any]


def measure(candidate: Candidate, rows: PresentedRows) -> list[Lines]:
    """Call the loss with the rows in their presentation, and return the graded lines of each quantity."""
    special = _CALLS.get(rows.how.call) or _IN_MEMORY.get(rows.how.arrangement)
    if special is None:
        return _plainly(candidate, rows)
    if candidate.cannot & {rows.how.call, rows.how.arrangement}:
        return []
    with candidate.traced(rows) as traced:
        found = special(traced, rows)
    if traced.fault is not None:
        status, detail = traced.fault
        return [_fault(rows, Status(status), detail)]
    return found if traced.written is None else [*found, _written(rows, traced.written)]


def _plainly(candidate: Candidate, rows: PresentedRows) -> list[Lines]:
    batches = rows.batches
    outcome = _together([candidate.call(batch, rows.options) for batch in batches])
    found = _graded(rows, dict(outcome.values))
    if outcome.status != Status.OK and (outcome.lacking or not outcome.values):
        found.append(_fault(rows, Status(outcome.status), outcome.detail))
    if rows_differ(np.concatenate([batch.logits for batch in batches]), rows.logits).any():
        found.append(_written(rows, Argument.LOGITS))
    return found


def _written(rows: PresentedRows, argument: Argument) -> Lines:
    return _fault(rows, Status.RAISED, f"the loss writes into its {argument}", argument)


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcomes of one batch's calls as one; the first error counts for all."""
    fault = next((o for o in outcomes if o.status != Status.OK), None)
    if fault is not None or len(outcomes) == 1:
        return fault or outcomes[0]
    parts = [dict(o.values) for o in outcomes]
    return Outcome(tuple((q, np.concatenate([part[q] for part in parts])) for q in parts[0]))


# --- calls of another kind --------------------------------------------------------------------------------------


def _again(traced: Traced, rows: PresentedRows) -> list[Lines]:
    """Call the loss twice with the same arrays; a line whose bits differ has the verdict `DIFFERS`."""
    laid = traced.laid(rows)
    first, second = (traced.both(laid) for _ in range(2))
    return [_compared(rows, Quantity(name), first[name], second[name]) for name in first]


def _compared(rows: PresentedRows, quantity: Quantity, one: Array, other: Array) -> Lines:
    defined = rows.exact.defined if one.ndim else np.atleast_1d(rows.exact.defined.all())
    differ = rows_differ(np.atleast_1d(one), np.atleast_1d(other)) & defined
    verdict = np.where(differ, DIFFERS, Verdict.CORRECT.value)
    return _distinct(rows, replace(Lines.of(rows, quantity, whole=one.ndim == 0), verdict=verdict))


def _weighted(traced: Traced, rows: PresentedRows) -> list[Lines]:
    """Grade the gradient of the losses with a factor for each row."""
    weights = rows.weights if rows.weights is not None else np.ones(len(rows), rows.logits.dtype)
    size = rows.per_call or len(rows)
    parts = [slice(i, i + size) for i in range(0, len(rows), size)]
    gradient = np.concatenate([traced.gradient(traced.laid(rows.take(part)), weights[part]) for part in parts])
    return _graded_over(rows, gradient, weights)


def _graded_over(rows: PresentedRows, gradient: Array, weights: Array) -> list[Lines]:
    if rows.distinct is None:
        graded = _grade_weighted(rows, gradient, weights)
    else:
        few, copies = distinct_rows(rows.distinct, weights, gradient)
        graded = _grade_weighted(rows.take(few), gradient[few], weights[few]).take(copies)
    lines = replace(Lines.of(rows, Quantity.GRADIENT).graded(graded), out_dtype=gradient.dtype.name)
    return [_distinct(rows, lines)]


def _grade_weighted(rows: PresentedRows, gradient: Array, weights: Array) -> Graded:
    """Grade the gradient of weighted losses by the bounds of the losses' gradient."""
    factors = weights.astype(np.float64)[:, None]
    ordinary = np.isfinite(factors) & (factors != 0)
    # An entry may underflow before or after the multiplication. So a factor of at least 1 divides the computed values,
    # and a smaller one multiplies the exact values. The sign always divides the computed values, so that the graded
    # signs are those of an unweighted gradient.
    size = np.abs(factors)
    before = np.where(ordinary, np.where(size >= 1, factors, np.sign(factors)), 1.0)
    after = np.where(ordinary & (size < 1), size, 1.0)
    wanted = rows.exact.gradient
    exact = replace(rows.exact, gradient=Exact(wanted.hi * after, wanted.lo * after), scale=rows.exact.scale * after)
    with np.errstate(invalid="ignore"):
        divided = gradient.astype(np.float64) / before
    graded = grade(Quantity.GRADIENT, divided, rows.logits, rows.fmt, exact)
    return _without_value(graded, gradient, factors[:, 0])


def _without_value(graded: Graded, gradient: Array, factors: Array) -> Graded:
    """Grade rows whose factor is 0 (the gradient must be 0) or NaN (an entry must be NaN)."""
    g = gradient.astype(np.float64)
    letters, verdicts = np.array(graded.grade, object), np.array(graded.verdict, object)
    known = letters != np.array(None)
    nothing, lost = (factors == 0) & known, np.isnan(factors) & known
    wrong = (nothing & (g != 0).any(axis=1)) | (lost & ~np.isnan(g).any(axis=1))
    letters[nothing | lost], verdicts[nothing | lost] = Grade.A.value, Verdict.CORRECT.value
    letters[wrong] = Grade.F.value
    not_zero = np.where(np.isnan(g).any(axis=1), Verdict.NAN.value, Verdict.LOST.value)
    verdicts[wrong] = np.where(lost, Verdict.SWALLOWED.value, not_zero)[wrong]
    return replace(graded, grade=letters, verdict=verdicts)


def _summed(traced: Traced, rows: PresentedRows) -> list[Lines]:
    """Grade the gradient of half the summed loss, which passes one number to all rows."""
    gradient = traced.gradient(traced.laid(rows), SHARE)
    return _graded_over(rows, gradient, np.full(len(rows), SHARE, rows.logits.dtype))


def _untracked(traced: Traced, rows: PresentedRows) -> list[Lines]:
    return _graded(rows, {Quantity.LOSS: traced.untracked(traced.laid(rows))})


def _as_it_lies(traced: Traced, rows: PresentedRows) -> list[Lines]:
    return _graded(rows, traced.both(traced.laid(rows)))


def _differentiated_twice(traced: Traced, rows: PresentedRows) -> list[Lines]:
    """Compare two gradients of one loss bitwise. A loss may raise in the second backward pass."""
    weights = rows.weights if rows.weights is not None else np.ones(len(rows), rows.logits.dtype)
    try:
        first, second = traced.two_gradients(traced.laid(rows), weights)
    except Exception:  # the loss is the user's code
        return []
    return [_compared(rows, Quantity.GRADIENT, first, second)]


def _another_between(traced: Traced, rows: PresentedRows) -> list[Lines]:
    """Grade loss and gradient of a batch that are read after a call with another batch."""
    # The other batch has the same shape; its exact answer is not used.
    others = replace(rows, logits=rows.logits[::-1, ::-1].copy(), targets=rows.classes - 1 - rows.targets)
    other = traced.laid(others)
    return _graded(rows, traced.both(traced.laid(rows), between=lambda: traced.both(other)))


_CALLS: dict[CallKind, Callable[[Traced, PresentedRows], list[Lines]]] = {
    CallKind.AGAIN: _again,
    CallKind.WEIGHTED: _weighted,
    CallKind.SUMMED: _summed,
    CallKind.UNTRACKED: _untracked,
    CallKind.TWICE: _differentiated_twice,
    CallKind.BETWEEN: _another_between,
}
_IN_MEMORY = {Arrangement.SLICED: _as_it_lies, Arrangement.EVERY_OTHER: _as_it_lies}


# --- lines ------------------------------------------------------------------------------------------------------


def _graded(rows: PresentedRows, values: Mapping[str, Array]) -> list[Lines]:
    return [_of_quantity(rows, Quantity(name), array) for name, array in values.items()]


def _of_quantity(rows: PresentedRows, quantity: Quantity, array: Array) -> Lines:
    graded = rows.grade(quantity, array)
    whole = quantity == Quantity.LOSS and rows.options.reduced
    lines = replace(Lines.of(rows, quantity, whole=whole).graded(graded), out_dtype=array.dtype.name)
    if quantity == Quantity.LOSS:
        value, exact = np.atleast_1d(array.astype(np.float64)), np.atleast_1d(rows.exact.loss.hi)
        lines = replace(lines, value=value, exact=exact)
    return _distinct(rows, lines)


def _distinct(rows: PresentedRows, lines: Lines) -> Lines:
    """Return the worst line of each row's copies, since a large batch has too many lines for a table."""
    if rows.distinct is None or len(lines) != len(rows):
        return lines
    if lines.grade is not None:
        rank = grade_ranks(lines.grade)
    else:
        rank = np.zeros(len(lines), int) if lines.verdict is None else np.equal(lines.verdict, DIFFERS).astype(int)
    order = np.lexsort((-rank, rows.distinct))
    return lines.take(order[np.unique(rows.distinct[order], return_index=True)[1]])


def _fault(rows: PresentedRows, status: Status, detail: str, written: Argument | None = None) -> Lines:
    quantity = Quantity.GRADIENT if "gradient" in detail else Quantity.LOSS
    return _distinct(rows, replace(Lines.of(rows, quantity), status=status, detail=detail, written=written))
