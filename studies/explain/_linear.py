"""A measurement of the linear problem as a table: the logits, and the deciding entry of each quantity."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.rounding import round_to, ulp
from ...core.vocabulary import Grade, Quantity
from ...execution.plan import LinearGroup
from ...grading import margin
from ...grading.first_failure import short
from ...oracle import Exact
from .._cells import REDUCED
from .._measurer import Measurement
from ._entries import entry_name, shown_row
from ._explanation import COLUMNS

UNFUSED = "[linear]"  # the end of the name of an implementation that computes the logits first
GRADIENTS = {
    Quantity.GRADIENT_HIDDEN: "g @ weight",
    Quantity.GRADIENT_WEIGHT: "g.T @ hidden",
    Quantity.GRADIENT_BIAS: "the sum of g over rows",
}


def linear_table(m: Measurement, row: int) -> pd.DataFrame:
    """Return the logits and the measured quantities in the columns `COLUMNS`, with the deciding entry of each.

    A fused loss never stores its logits, so their line has no computed value. It has the exact logit that changes most
    when it is rounded to the dtype, and its rounded value.

    Args:
        m: a measurement of a case of the linear problem.
        row: the row of the logits, the loss and ``gradient_hidden``, or -1 for the whole batch.
    """
    lines = [*_logits_line(m, row), *_quantity_lines(m, row)]
    table = pd.DataFrame([(row, *line) for line in lines], columns=list(COLUMNS))
    return table.astype({"rule": object, "fix": object})


def describe_rounding(m: Measurement, row: int) -> Iterator[str]:
    """Yield a sentence on how far a rounding to the dtype moves the logits, if a logit is finite."""
    found = _largest_rounding(m, row)
    if found is None:
        return
    fmt = m.group.fmt
    z = np.abs(_logits(m)[_rows(m, row)].hi)
    largest = fmt.unit_roundoff * float(z[np.isfinite(z)].max())
    moves = f"moves the logit {_six(found.exact)} by {found.moved:.2g}" if found.moved else "changes no logit"
    yield f"logits: rounding them to {fmt.name} {moves}; C allows each to move by u |z|, here at most {largest:.2g}"


@dataclass(frozen=True)
class _RoundedLogit:
    row: int
    index: int
    exact: float
    rounded: float
    moved: float
    ulp: float


def _logits(m: Measurement) -> Exact:
    """Return the exact logits (B, C)."""
    group = m.group
    if not isinstance(group, LinearGroup):
        raise TypeError(f"{m.case.id} has the problem {group.problem}; expected linear")
    return group.linear_exact.logits


def _rows(m: Measurement, row: int) -> NDArray[np.intp]:
    """Return the numbers of the rows that are explained: one, or of the whole batch those that are not ignored."""
    counts = (m.group.exact.mass > 0) | (m.group.exact.gradient.hi != 0).any(axis=1)
    return np.flatnonzero(counts) if row == REDUCED else np.array([row])


def _largest_rounding(m: Measurement, row: int) -> _RoundedLogit | None:
    """Return the logit that a rounding to the dtype moves most, or None if none is finite."""
    rows, fmt = _rows(m, row), m.group.fmt
    exact = _logits(m)[rows]
    finite = np.isfinite(exact.hi)
    if not finite.any():
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.where(finite, round_to(exact.hi, fmt, exact.lo), np.nan)
        moved = np.where(finite, np.abs((rounded - exact.hi) - exact.lo), -1.0)
    i, j = (int(k) for k in np.unravel_index(int(moved.argmax()), moved.shape))
    spacing = float(ulp(exact.hi[i, j], fmt, exact.lo[i, j]))
    error = float(moved[i, j])
    return _RoundedLogit(int(rows[i]), j, float(exact.hi[i, j]), float(rounded[i, j]), error, error / spacing)


def _six(value: float) -> str:
    return f"{value:.6g}"  # enough to see a rounding to a 16-bit dtype


def _logits_line(m: Measurement, row: int) -> Iterator[tuple[Any, ...]]:
    found, formula = _largest_rounding(m, row), _product(m)
    finite = bool(np.isfinite(_logits(m)[_rows(m, row)].hi).all())
    if found is None:
        yield "logits", "forward", formula, "", "none is finite", finite, np.nan, None, None
        return
    value = f"row {found.row}, class {found.index}: {_six(found.rounded)} if rounded"
    yield "logits", "forward", formula, value, _six(found.exact), finite, found.ulp, None, None


def _product(m: Measurement) -> str:
    return "hidden @ weight.T" + " + bias" * (Quantity.GRADIENT_BIAS in m.group.quantities(m.cell.implementation))


def _formula(m: Measurement, quantity: str) -> str:
    if quantity != Quantity.LOSS:
        return GRADIENTS[Quantity(quantity)]
    name = m.cell.implementation.name.partition("/")[2]
    if name.endswith(UNFUSED):
        return f"{_product(m)}, then {name.removesuffix(UNFUSED)}"
    return f"{name} of hidden, weight" + " and bias" * _product(m).endswith("bias")


def _quantity_lines(m: Measurement, row: int) -> Iterator[tuple[Any, ...]]:
    for quantity, graded in m.graded.items():
        at = shown_row(m, quantity, row)
        values = m.values[quantity]
        if at is None or not values.size:
            continue
        grade, verdict = graded.grade[at], str(graded.verdict[at])
        entry = margin(m.group.standard(quantity, m.cell.implementation), values, at, grade, verdict)
        place = entry_name(m, quantity, at, entry.entry)
        value = f"{place}: {short(entry.value)}" if place else short(entry.value)
        finite = bool(np.isfinite(np.asarray(values if m.group.is_one_row(quantity) else values[at], np.float64)).all())
        has_answer = grade is not None or np.isfinite(entry.exact)
        rule = f"{short(entry.value)} where {short(entry.exact)} is exact" if grade in (Grade.D, Grade.F) else None
        yield (
            quantity, "forward" if quantity == Quantity.LOSS else "backward", _formula(m, quantity), value,
            short(entry.exact) if has_answer else "no exact value", finite,
            entry.ulp if has_answer else np.nan, rule, None,
        )  # fmt: skip
