"""Compare computed values with exact ones: finiteness, errors, grade and verdict of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format
from ..core.vocabulary import GRADES, Grade, Verdict, grade_rank
from ..oracle import Exact, Reference
from ._bounds import Bounds
from ._standard import Standard

Array = NDArray[Any]
Float64 = NDArray[np.float64]

LETTERS = np.array(GRADES, object)
LOST_FROM = 0.5  # from this relative error on, even the leading bit is wrong


@dataclass(frozen=True)
class Graded:
    """The grades and errors of one quantity; all arrays have shape (R,), R the rows, or 1 for a reduced loss.

    ``grade`` has letters, None where there is nothing to grade. An ignored row without a softmax has no grade, but a
    ``verdict`` and errors against its exact 0. Errors are infinite where a value is not of its exact value's kind, and
    NaN where no value is right. ``max_rel`` is over entries in the dtype's normal range: below it the format keeps no
    fixed number of digits.
    """

    grade: Array
    verdict: Array
    finite: NDArray[np.bool_]
    expected_finite: NDArray[np.bool_]
    n_nan: NDArray[np.int64]
    n_posinf: NDArray[np.int64]
    n_neginf: NDArray[np.int64]
    n_zeroed: NDArray[np.int64]
    max_abs: Float64
    max_rel: Float64
    max_ulp: Float64

    def take(self, rows: NDArray[np.intp]) -> Graded:
        """Return the grades of the given rows, which may repeat."""
        return Graded(**{name: values[rows] for name, values in vars(self).items()})

    def replaced(self, rows: NDArray[np.intp], others: Graded) -> Graded:
        """Return a copy in which the given rows have other grades."""
        found = {name: values.copy() for name, values in vars(self).items()}
        for name, values in vars(others).items():
            found[name][rows] = values
        return Graded(**found)


def grade(
    quantity: str,
    computed: Array,
    logits: Array,
    fmt: Format,
    exact: Reference,
    *,
    reduction: str = "none",
    row_losses: Exact | None = None,
    rows_exposed: bool = False,
) -> Graded:
    """Grade one quantity.

    Args:
        quantity: ``probabilities``, ``loss`` or ``gradient``.
        computed: (B, C), or (B,) for the loss, () if it is reduced; in the framework's dtype.
        logits: (B, C) as the dtype holds them.
        fmt: the case's dtype.
        exact: the reference for these logits and this reduction.
        reduction: ``none``, ``mean`` or ``sum``.
        row_losses: the exact unreduced losses (B,), for the bound of a reduced one.
        rows_exposed: whether the row losses came out in the dtype before they were reduced.
    """
    standard = Standard.of(quantity, logits, fmt, exact, reduction, row_losses, rows_exposed=rows_exposed)
    return grade_by(standard, computed)


def grade_by(standard: Standard, computed: Array) -> Graded:
    """Grade one computation by a standard that many computations of the quantity share."""
    v = computed.reshape(standard.wanted.hi.shape).astype(np.float64)
    errors, has_answer = standard.errors(v, computed.dtype), standard.has_answer
    error = errors.absolute
    in_ulp, relative = errors.relative_to(standard.ulp), errors.relative_to(standard.size)
    wrong_kind = ~errors.same_kind & (error > 0)
    mismatch = wrong_kind.any(axis=1)
    is_nan = np.isnan(v)
    zeroed = (v == 0) & errors.same_kind & standard.representable
    wrong_sign = standard.wrong_signs(v).any(axis=1)
    level = np.maximum(_level(error, standard.allowed), np.where(wrong_sign, grade_rank(Grade.C), 0))
    level = np.where(mismatch, grade_rank(Grade.F), level)
    faults = {
        Verdict.UNDEFINED: ~has_answer,
        Verdict.NAN: (wrong_kind & is_nan).any(axis=1),
        Verdict.OVERFLOW: (wrong_kind & np.isinf(v)).any(axis=1),
        Verdict.SWALLOWED: mismatch,
        Verdict.WRONG_SIGN: wrong_sign,
        Verdict.UNDERFLOW: (zeroed & (error > standard.allowed.a)).any(axis=1),
        Verdict.LOST: (level > 0) & (relative >= LOST_FROM).any(axis=1),
        Verdict.INACCURATE: level >= grade_rank(Grade.C),
    }
    return Graded(
        grade=np.where(standard.graded, LETTERS[level], np.array(None, object)),
        verdict=np.select(list(faults.values()), list(faults), Verdict.CORRECT),
        finite=np.logical_and.reduce(np.isfinite(v), axis=1),
        expected_finite=np.logical_and.reduce(np.isfinite(standard.expected(computed.dtype)), axis=1),
        n_nan=is_nan.sum(axis=1),
        n_posinf=(v == np.inf).sum(axis=1),
        n_neginf=(v == -np.inf).sum(axis=1),
        n_zeroed=zeroed.sum(axis=1),
        max_abs=_largest(error, has_answer),
        max_rel=_largest(relative, has_answer),
        max_ulp=_largest(in_ulp, has_answer),
    )


def _level(error: Float64, allowed: Bounds) -> NDArray[np.int64]:
    """Return for each row the index into GRADES of the best grade whose bound holds for all entries, else of D."""
    level = np.zeros(len(error), np.int64)
    for bound in allowed:
        level += ~(error <= bound).all(axis=1)
    return level


def _largest(values: Float64, has_answer: NDArray[np.bool_]) -> Float64:
    return np.where(has_answer, values.max(axis=1, initial=0.0), np.nan)
