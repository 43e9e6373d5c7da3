"""The measurement of rows: a line for each row and quantity, as in the measurements table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.formats import get_format
from ....core.rounding import quantize
from ....core.vocabulary import Grade, Quantity, Status, Verdict
from ....execution.worker import Outcome
from ....frameworks import Batch
from ....grading import Graded, grade
from ....oracle import Exact
from ..batches._again import SHARE
from ..batches._calls import REFUSABLE
from ..batches._known import distinct_rows, rows_differ
from ..batches._presentation import OTHER_MEMORY, Argument, CallKind
from ..batches._rows import PresentedRows
from ._ignored import graded_as_nothing
from ._lines import DIFFERS, REFUSED, WRONG, Lines
from ._loss import Candidate, Traced
from ._measure_calls import COMPARED, VALUES, Judged, judge_printed
from ._races import Results, repeated, wording

Array = NDArray[Any]
_Measured = Callable[[Traced, PresentedRows], list[Lines]]

# The dtype of the batch before. With float32 between the others, each dtype follows a wider or narrower one.
OTHER_DTYPE = {"float16": "float32", "bfloat16": "float32", "float32": "bfloat16", "float64": "float32"}


def measure(candidate: Candidate, rows: PresentedRows) -> list[Lines]:
    """Call the loss with the rows in their presentation, and return the graded lines of each quantity."""
    special = _CALLS.get(rows.how.call) or _IN_MEMORY.get(rows.how.arrangement)
    if special is None and candidate.by_hand(rows.options, rows.classes) is not None:
        # An adapter would divide the gradient of a mean by the number of rows, and call it with overwritten logits.
        special = _as_it_lies if rows.options.announced or candidate.form.may_overwrite else None
    if special is None:
        after = rows.how.call is CallKind.AFTER_DTYPE
        return _after_another_dtype(candidate, rows) if after else _plainly(candidate, rows)
    if candidate.cannot & {rows.how.call, rows.how.arrangement}:
        return []
    with candidate.traced(rows) as traced:
        found = special(traced, rows)
    if traced.fault is not None:
        status, detail = traced.fault
        if rows.how.call in REFUSABLE:
            return [_in_words(rows, WRONG if traced.misshapen else REFUSED, detail)]
        return [_fault(rows, status, detail)]
    if traced.written_beside:
        found.append(_fault(rows, Status.RAISED, "the loss writes into memory beside its logits", Argument.LOGITS))
    return found if traced.written is None else [*found, _written(candidate, rows, traced.written)]


def _plainly(candidate: Candidate, rows: PresentedRows) -> list[Lines]:
    batches = rows.batches
    outcome = _together([candidate.call(batch, rows.options) for batch in batches])
    found = _graded(rows, dict(outcome.values))
    if outcome.status != Status.OK and (outcome.lacking or not outcome.values):
        lacking = Quantity.GRADIENT if found else None  # a call that returned the loss failed in its gradient
        found.append(_fault(rows, Status(outcome.status), outcome.detail, quantity=lacking))
    logits = [batch.logits for batch in batches]
    if rows_differ(logits[0] if len(logits) == 1 else np.concatenate(logits), rows.logits).any():
        found.append(_written(candidate, rows, Argument.LOGITS))
    return found


def _written(candidate: Candidate, rows: PresentedRows, argument: Argument) -> Lines:
    """Return a failure of each row, or one line that does not fail if the loss may overwrite its arguments."""
    if candidate.form.may_overwrite:
        line = Lines.of(rows, Quantity.LOSS).take(np.array([0]))
        return replace(line, detail=f"the loss writes into its {argument}, as allowed", written=argument)
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
    first, second = (traced.both(x) for x in (laid, traced.next(laid)))
    return [_compared(rows, Quantity(name), first[name], second[name]) for name in first]


def _compared(rows: PresentedRows, quantity: Quantity, one: Array, other: Array) -> Lines:
    defined = rows.exact.defined if one.ndim else np.atleast_1d(rows.exact.defined.all())
    differ = rows_differ(np.atleast_1d(one), np.atleast_1d(other)) & defined
    verdict = np.where(differ, DIFFERS, Verdict.CORRECT.value)
    return _distinct(rows, replace(Lines.of(rows, quantity, whole=one.ndim == 0), verdict=verdict))


def _weighted(traced: Traced, rows: PresentedRows, *, apart: bool = False) -> list[Lines]:
    """Grade the gradient of the losses with a factor for each row."""
    weights = rows.weights if rows.weights is not None else np.ones(len(rows), rows.logits.dtype)
    size = rows.per_call or len(rows)
    parts = [slice(i, i + size) for i in range(0, len(rows), size)]
    upstream = [_upstream(rows, weights[part]) for part in parts]
    laid = (traced.laid(rows.take(part)) for part in parts)
    gradient = np.concatenate([traced.gradient(x, u, apart=apart) for x, u in zip(laid, upstream, strict=True)])
    return _graded_over(rows, gradient, weights)


def _upstream(rows: PresentedRows, weights: Array) -> Array:
    """Return the upstream gradient of the losses: one number if they are reduced."""
    return weights[:1].reshape(()) if rows.options.reduced else weights


def _graded_over(rows: PresentedRows, gradient: Array, weights: Array) -> list[Lines]:
    return [rows.once("weighted", (gradient, weights), lambda: _of_weighted(rows, gradient, weights))]


def _of_weighted(rows: PresentedRows, gradient: Array, weights: Array) -> Lines:
    if rows.distinct is None:
        graded = _grade_weighted(rows, gradient, weights)
    else:
        few, copies = distinct_rows(rows.distinct, weights, gradient)
        graded = _grade_weighted(rows.take(few), gradient[few], weights[few]).take(copies)
    return _distinct(rows, Lines.of(rows, Quantity.GRADIENT).graded(graded, out_dtype=gradient.dtype.name))


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
    with np.errstate(invalid="ignore"):
        divided = gradient.astype(np.float64) / before
    if rows.origin is None:
        return _without_value(_grade_scaled(rows, divided, after), gradient, factors[:, 0])
    # Rows with unchanged exact values share the bounds of the catalogue's batch, which take most of the time.
    same, scaled = np.flatnonzero(after == 1), np.flatnonzero(after != 1)
    parts = [rows.origin.take(same).grade_once(Quantity.GRADIENT, divided[same])] if same.size else []
    parts += [_grade_scaled(rows.take(scaled), divided[scaled], after[scaled])] if scaled.size else []
    graded = Graded.joined(parts).take(np.argsort(np.concatenate([same, scaled])))
    return _without_value(graded, gradient, factors[:, 0])


def _grade_scaled(rows: PresentedRows, divided: Array, after: Array) -> Graded:
    wanted = rows.exact.gradient
    exact = replace(rows.exact, gradient=Exact(wanted.hi * after, wanted.lo * after), scale=rows.exact.scale * after)
    return grade(Quantity.GRADIENT, divided, rows.logits, rows.fmt, exact)


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
    size = rows.per_call or len(rows)
    parts = [traced.both(traced.laid(rows.take(np.s_[i : i + size]))) for i in range(0, len(rows), size)]
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if len(parts) > 1 else {}
    return _graded(rows, together or parts[0])


def _differentiated_twice(traced: Traced, rows: PresentedRows) -> list[Lines]:
    """Compare two gradients of one loss bitwise. A loss may raise in the second backward pass."""
    weights = rows.weights if rows.weights is not None else np.ones(len(rows), rows.logits.dtype)
    try:
        first, second = traced.two_gradients(traced.laid(rows), _upstream(rows, weights))
    except Exception:  # the loss is the user's code
        return []
    return [_compared(rows, Quantity.GRADIENT, first, second)]


def _another_between(traced: Traced, rows: PresentedRows) -> list[Lines]:
    """Grade loss and gradient of a batch that are read after a call with another batch."""
    # The other batch has the same shape; its exact answer is not used.
    shares = None if rows.shares is None else rows.shares[::-1, ::-1].copy()
    targets = rows.classes - 1 - rows.targets
    others = replace(rows, logits=rows.logits[::-1, ::-1].copy(), targets=targets, shares=shares)
    other = traced.laid(others)
    return _graded(rows, traced.both(traced.laid(rows), between=lambda: traced.both(other)))


def _valued(values: Callable[[Traced, PresentedRows], list[Mapping[str, Array]]]) -> _Measured:
    """Return a measurement that grades these values."""
    return lambda traced, rows: [lines for each in values(traced, rows) for lines in _graded(rows, each)]


def _judged(judge: Callable[[Traced, PresentedRows], list[Judged]]) -> _Measured:
    """Return a measurement of lines that are right or wrong, without a grade; rows that are not judged get none."""
    return lambda traced, rows: [_right_or_wrong(rows, each) for each in judge(traced, rows)]


def _right_or_wrong(rows: PresentedRows, judged: Judged) -> Lines:
    lines = _distinct(rows, judged.lines(rows))
    return lines.take(np.flatnonzero(np.asarray(lines.verdict) != np.array(None)))


def _repeated(traced: Traced, rows: PresentedRows) -> list[Lines]:
    """Make the same call many times; a row whose bits differ has the verdict `DIFFERS`."""
    laid = traced.laid(rows)
    results = repeated(lambda: traced.both(traced.unrecorded(laid)), max(rows.how.times, 2))
    return [_unequal(rows, Quantity(name), each) for name, each in results.items()]


def _unequal(rows: PresentedRows, quantity: Quantity, results: Results) -> Lines:
    whole = results.first.ndim == 0
    differ = results.rows & (np.atleast_1d(rows.exact.defined.all()) if whole else rows.exact.defined)
    verdict = np.where(differ, DIFFERS, Verdict.CORRECT.value)
    detail = wording(results.others, results.calls) if differ.any() else None
    return _distinct(rows, replace(Lines.of(rows, quantity, whole=whole), verdict=verdict, detail=detail))


def _after_another_dtype(candidate: Candidate, rows: PresentedRows) -> list[Lines]:
    """Grade loss and gradient of a batch whose shape the loss has seen in another dtype only."""
    other = get_format(OTHER_DTYPE[rows.dtype])
    with np.errstate(over="ignore"):
        logits = quantize(rows.logits.astype(np.float64), other)
    # The loss need not support the other dtype, so its result is not used.
    candidate.call(Batch(logits, rows.targets.copy(), rows.options.reduction), rows.options)
    return _plainly(candidate, rows)


_CALLS: dict[CallKind, _Measured] = {
    CallKind.AGAIN: _again,
    CallKind.WEIGHTED: _weighted,
    CallKind.SUMMED: _summed,
    CallKind.UNTRACKED: _untracked,
    CallKind.TWICE: _differentiated_twice,
    CallKind.BETWEEN: _another_between,
    CallKind.INT32: _as_it_lies,
    CallKind.APART: partial(_weighted, apart=True),
    **{call: _valued(values) for call, values in VALUES.items()},
    **{call: _judged(judge) for call, judge in COMPARED.items()},
    CallKind.REPEATED: _repeated,
}
_IN_MEMORY = dict.fromkeys(OTHER_MEMORY, _as_it_lies)


def grade_printed(rows: PresentedRows, quantity: Quantity, array: Array) -> list[Lines]:
    """Return the graded lines of a result that a program printed."""
    judged = judge_printed(rows, quantity, array)
    if judged is not None:
        return [_right_or_wrong(rows, judged)]
    if quantity == Quantity.GRADIENT and rows.weights is not None:
        return _graded_over(rows, array, rows.weights)
    return [_of_quantity(rows, quantity, array)]


# --- lines ------------------------------------------------------------------------------------------------------


def _graded(rows: PresentedRows, values: Mapping[str, Array]) -> list[Lines]:
    return [_of_quantity(rows, Quantity(name), array) for name, array in values.items()]


def _of_quantity(rows: PresentedRows, quantity: Quantity, array: Array) -> Lines:
    return rows.once(quantity, [array], lambda: _grade_quantity(rows, quantity, array))


def _grade_quantity(rows: PresentedRows, quantity: Quantity, array: Array) -> Lines:
    whole = quantity == Quantity.LOSS and rows.options.reduced
    graded = rows.grade(quantity, array)
    graded = graded if whole else graded_as_nothing(rows, graded, array)
    numbers: dict[str, Array] = {}
    if quantity == Quantity.LOSS:
        numbers = {"value": np.atleast_1d(array.astype(np.float64)), "exact": np.atleast_1d(rows.exact.loss.hi)}
    lines = Lines.of(rows, quantity, whole=whole)
    return _distinct(rows, lines.graded(graded, out_dtype=array.dtype.name, **numbers))


def _distinct(rows: PresentedRows, lines: Lines) -> Lines:
    """Return the worst line of each row's copies, since a large batch has too many lines for a table."""
    return lines if rows.distinct is None or len(lines) != len(rows) else lines.worst_of_copies(rows.distinct)


def _in_words(rows: PresentedRows, verdict: str, detail: str) -> Lines:
    """Return one line for all rows, with a message."""
    lines = Lines.of(rows, Quantity.LOSS).take(np.array([0]))
    return replace(lines, verdict=np.array([verdict], object), detail=detail)


def _fault(
    rows: PresentedRows,
    status: Status,
    detail: str,
    written: Argument | None = None,
    quantity: Quantity | None = None,
) -> Lines:
    quantity = quantity or (Quantity.GRADIENT if "gradient" in detail else Quantity.LOSS)
    return _distinct(rows, replace(Lines.of(rows, quantity), status=status, detail=detail, written=written))
