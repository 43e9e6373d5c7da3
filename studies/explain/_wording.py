"""A sentence about the grade of each quantity, and remarks on ungraded facts."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cases import Case, LinearCase
from ...core.formats import FORMATS
from ...core.vocabulary import Conduct, Grade, Problem, Quantity, Reach, Verdict
from ...frameworks.stages import TRACED
from ...grading import (
    Margin,
    conduct,
    describe_empty_mean,
    describe_ignored_row,
    describe_reach,
    invalid_target_answers,
    margin,
)
from ...grading.first_failure import short
from .._cells import REDUCED
from .._measurer import Measurement
from ._entries import entry_name, shown_row
from ._explanation import Assessment

Array = NDArray[Any]

# The reasons why B allows more than A, and C more than B; see `grading`.
PERTURBED = "each derivative by a logit may be rounded before it is multiplied"
ONLY_B = {
    "loss": "digits of a loss near zero may be lost",
    "gradient": "digits of an entry beside larger ones may be lost",
    "probabilities": "digits of an entry beside larger ones may be lost",
    "reduced loss": "each row loss may have been rounded, or have lost its digits near zero",
    "gradient_hidden": PERTURBED,
    "gradient_weight": PERTURBED,
    "gradient_bias": PERTURBED,
}
OFFSET = "a rounding as large as the logits' own"
ROUNDED = "each logit may be rounded to the dtype, or a sum be held in it"
ONLY_C = {
    "reduced loss": f"{OFFSET} in each row, or a sum in the dtype",
    "gradient_hidden": ROUNDED,
    "gradient_weight": ROUNDED,
    "gradient_bias": ROUNDED,
}


_GRADIENTS = (Quantity.GRADIENT_HIDDEN, Quantity.GRADIENT_WEIGHT, Quantity.GRADIENT_BIAS)
_INSIDE = ": logits, probabilities and sums in at least {wide}, and one rounding at the end"


def assessments(m: Measurement, row: int) -> tuple[Assessment, ...]:
    """Return the quantities of a row as in the measurements table; a reduced loss is that of row -1."""
    found = []
    for quantity, graded in m.graded.items():
        at = shown_row(m, quantity, row)
        if at is None or not m.values[quantity].size:
            continue
        is_reduced = quantity == Quantity.LOSS and m.is_reduced
        grade, verdict = graded.grade[at], str(graded.verdict[at])
        if grade is None:
            text = f"not graded: {_why_ungraded(m, quantity, at if row == REDUCED else row)}"
        else:
            standard = m.group.standard(quantity, m.cell.implementation)
            decides = margin(standard, m.values[quantity], at, grade, verdict)
            kind = "reduced loss" if is_reduced else quantity
            reason = _reason(kind, grade, verdict, decides, _place(m, quantity, at, decides))
            text = f"{grade}, {Grade(grade).meaning}: {reason}"
        name = f"{m.group.reduction} of the losses" if is_reduced else quantity
        found.append(Assessment(quantity, grade, verdict, f"{name}: {text}"))
    return tuple(found)


def given(m: Measurement, row: int) -> str:
    """Return the target of a row, and the case's reduction, options and layout, as text."""
    case = m.case
    parts = [case.shapes] if isinstance(case, LinearCase) else []
    parts += [] if row == REDUCED else [_target(case, row)]
    parts += [f"reduction {case.reduction}"] * m.is_reduced
    parts += [f"{name} {_option(value)}" for name, value in m.group.options.items()]
    parts += [f"layout {case.layout}"] * (case.layout != "rows")
    return "; ".join(parts)


def _option(value: Any) -> str:
    if np.ndim(value) == 0:
        return f"{float(value):g}"
    few = ", ".join(f"{float(v):g}" for v in value[:5])
    return f"[{few}{', ...' if len(value) > 5 else ''}]"


def is_ignored(case: Case, row: int) -> bool:
    """Return whether the row is ignored because of ``ignore_index``."""
    return case.ignore_index is not None and case.targets.ndim == 1 and int(case.targets[row]) == case.ignore_index


# --- graded -----------------------------------------------------------------------------------------------------


def _place(m: Measurement, quantity: str, row: int, e: Margin) -> str:
    name = entry_name(m, quantity, row, e.entry)
    return f"at {name} " if name else ""


def _reason(quantity: str, grade: str, verdict: str, e: Margin, at: str) -> str:
    instead = f"{at}{short(e.value)} where {short(e.exact)} is exact"
    if grade == Grade.F:
        return instead
    if verdict == Verdict.WRONG_SIGN:
        return f"{instead}: a wrong sign is at best C"
    if e.error == 0:
        return "no error" if np.isfinite(e.exact) else f"{at}{short(e.value)}, as it is exact"
    return f"{at}the error is {e.error:.2g} ({e.ulp:.2g} ulp), {_beside_bounds(quantity, grade, e)}"


def _beside_bounds(quantity: str, grade: str, e: Margin) -> str:
    """Return the bound of the grade, and the bound of the next better grade, which the error exceeds."""
    a, b, c = map("{:.2g}".format, e.allowed)
    if grade == Grade.A:
        t = e.fmt.smallest_normal
        flushed = 0 < abs(e.exact) < t and e.ulp > 1 and e.error <= t
        normal = f": the exact value, {short(e.exact)}, is below the smallest normal number and may be flushed to zero"
        inside = _INSIDE.format(wide=_wide(e)) if quantity in _GRADIENTS else ""
        return f"A allows {a}{normal if flushed else inside}"
    if grade == Grade.B:
        return f"more than A's {a}; B allows {b}: {ONLY_B[quantity]}"
    if grade == Grade.C:
        return f"more than B's {b}; C allows {c}: {ONLY_C.get(quantity, OFFSET)}"
    return f"more than the {c} that C allows"


def _wide(e: Margin) -> str:
    """Return the narrowest dtype of the logits and sums of an A."""
    return "float32" if e.fmt.unit_roundoff >= FORMATS["float32"].unit_roundoff else e.fmt.name


# --- not graded -------------------------------------------------------------------------------------------------


def _why_ungraded(m: Measurement, quantity: str, row: int) -> str:  # noqa: PLR0911 - a return for each reason
    case, values = m.case, m.values[quantity]
    is_loss = quantity == Quantity.LOSS
    reduced = is_loss and m.is_reduced
    result = _result(values if m.group.is_one_row(quantity) else values[row])
    if case.invalid:
        if is_loss and not reduced:
            answer = invalid_target_answers(values, m.group.logits, case.targets)[row]
            return f"a row beside is invalid; {result}" if answer is None else answer.detail
        return f"the target is not a class, so there is no exact value; the result is {result}"
    if m.group.exact.is_over_nothing(m.case.reduction):
        return f"a mean over nothing has no value; the result is {result}"
    if reduced:
        return f"a row has no limit in any format; the result is {result}"
    if Quantity(quantity).of_batch:
        why = "a row has no limit, or an ignored row holds NaN or infinity, which 0 times it spreads"
        return f"{why}; the result is {result}"
    if is_ignored(case, row):
        exact = "the row has no softmax" if quantity == Quantity.PROBABILITIES else "0 is exact"
        return f"an ignored row without a softmax; the result is {result}, {exact}"
    x = m.group.logits[row].astype(np.float64)
    why = "a logit is infinite" if (x == np.inf).any() else "every logit is -inf"
    return f"{why}, and no format reaches this row's limit; the result is {result}"


def _result(values: Array) -> str:
    """Return a result in a word or two."""
    v = np.atleast_1d(values).astype(np.float64)
    if v.size == 1:
        return short(float(v[0]))
    for name, where in (("NaN", np.isnan(v)), ("inf", np.isinf(v))):
        if where.any():
            return name if where.all() else f"{name} in {int(where.sum())} of {v.size} entries"
    return f"a largest entry of {short(float(np.abs(v).max()))}" if v.any() else "0"


# --- beside the grades ------------------------------------------------------------------------------------------


def remarks(m: Measurement, row: int) -> Iterator[str]:
    """Yield remarks on ungraded facts: stages not shown, ignored rows, a mean over nothing, missing quantities."""
    is_linear = m.group.problem is Problem.LINEAR
    if m.cell.implementation.trace in TRACED and m.group.options and not is_linear:
        yield f"with {' and '.join(m.group.options)} the call's input and output are shown, and no stages between them"
    if m.group.exact.is_over_nothing(m.case.reduction):
        yield describe_empty_mean(*_conducts(m, REDUCED))
    else:
        yield from _of_ignored(m, row)
    for quantity in m.outcome.lacking:
        yield f"{quantity}: {m.outcome.status}: {m.outcome.detail}"
    if m.outcome.changed:
        yield f"the call changed {', '.join(m.outcome.changed)}"


def _of_ignored(m: Measurement, row: int) -> Iterator[str]:
    """Yield remarks on the row if it is ignored, on another ignored row, and on the effect on other rows."""
    ignored = [r for r in range(m.case.rows) if is_ignored(m.case, r)]
    if row in ignored:
        yield describe_ignored_row(*_conducts(m, row))
    for other in ignored:
        loss, gradient = _conducts(m, other)
        if other != row and {loss, gradient} - {None, Conduct.ZERO}:
            yield f"Beside it, row {other}: {describe_ignored_row(loss, gradient)}"
            break
    yield from map(describe_reach, _reached(m, ignored))


def _conducts(m: Measurement, row: int) -> tuple[Conduct | None, Conduct | None]:
    """Return the conduct of a row's loss and gradient; for row -1, of the reduced loss and the whole gradient."""
    losses, gradient = m.values.get(Quantity.LOSS) if row == REDUCED else m.row_losses, m.values.get(_of_rows(m))
    at = slice(None) if row == REDUCED else row
    return (
        None if losses is None else conduct(losses if row == REDUCED else losses[row]),
        None if gradient is None or not len(gradient) else conduct(gradient[at]),
    )


def _of_rows(m: Measurement) -> Quantity:
    """Return the gradient that each row has."""
    return Quantity.GRADIENT_HIDDEN if m.group.problem is Problem.LINEAR else Quantity.GRADIENT


def _reached(m: Measurement, ignored: Sequence[int]) -> Iterator[Reach]:
    """Yield where NaN spread beyond the ignored rows: to results whose exact value is not NaN."""
    gradient, loss, exact = m.values.get(_of_rows(m)), m.values.get(Quantity.LOSS), m.group.exact
    if not ignored:
        return
    if gradient is not None:
        standard = m.group.standard(_of_rows(m), m.cell.implementation)
        wrong = np.isnan(gradient.astype(np.float64)) & ~np.isnan(standard.wanted.hi)
        if np.delete(wrong, ignored, axis=0).any():
            yield Reach.OTHER_ROWS
    if m.is_reduced and loss is not None and np.isnan(float(loss)) and not np.isnan(exact.loss.hi):
        yield Reach.REDUCED_LOSS


def _target(case: Case, row: int) -> str:
    if case.targets.ndim == 2:
        return "target probabilities"
    target = int(case.targets[row])
    if is_ignored(case, row):
        return f"target {target}, ignored by ignore_index"
    if not 0 <= target < case.classes:
        return f"target {target}, not one of the {case.classes} classes"
    return f"target {target}"
