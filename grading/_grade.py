"""Computed values against exact ones: finiteness, errors, grade and verdict of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format
from ..core.vocabulary import GRADES
from ..oracle import Exact, Reference
from ._standard import Standard

Array = NDArray[Any]
Float64 = NDArray[np.float64]

LETTERS = np.array(GRADES, object)
LOST_FROM = 0.5  # a relative error from which not even the leading bit is right


@dataclass(frozen=True)
class Graded:
    """One quantity of a batch, row by row; all arrays have shape (R,), R the rows, or 1 for a reduced loss.

    ``grade`` holds letters, None where there is nothing to grade; an ignored row without a softmax has no grade and
    yet a ``verdict`` and errors, against its exact 0. Errors are infinite where a value is not of the kind it should
    be, and NaN where no value is right. ``max_rel`` looks only at entries in the dtype's
    normal range: below it the format itself keeps no fixed number of digits.
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
    """Grades one quantity.

    Args:
        quantity: ``probabilities``, ``loss`` or ``gradient``.
        computed: (B, C), or (B,) for the loss, () if it is reduced; in the dtype it came in.
        logits: (B, C) as the dtype holds them.
        fmt: the case's dtype.
        exact: the reference for these logits and this reduction.
        reduction: ``none``, ``mean`` or ``sum``.
        row_losses: the unreduced losses (B,), needed to bound a reduced one.
        rows_exposed: whether the row losses came out in the dtype before they were reduced.
    """
    standard = Standard.of(quantity, logits, fmt, exact, reduction, row_losses, rows_exposed=rows_exposed)
    return grade_by(standard, computed)


def grade_by(standard: Standard, computed: Array) -> Graded:
    """As `grade`, by a standard that serves many computations of one quantity."""
    v = computed.reshape(standard.wanted.hi.shape).astype(np.float64)
    expected, graded = standard.expected(computed.dtype), standard.graded
    judged = standard.judged
    finite, wanted_finite = np.isfinite(v), np.isfinite(expected)
    same_kind = finite & wanted_finite
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        error = np.abs((v - standard.wanted.hi) - standard.wanted.lo)
        if same_kind.all():  # as nearly always: nothing to be told apart
            mismatch = np.zeros(len(v), bool)
            beyond = None
        else:
            right_special = (np.isnan(v) & np.isnan(expected)) | ((v == expected) & np.isinf(expected))
            beyond = ~same_kind & ~right_special
            error = np.where(same_kind, error, np.where(beyond, np.inf, 0.0))
            mismatch = beyond.any(axis=1)
        in_ulp, relative = error / standard.ulp, error / standard.size
    if beyond is not None:
        in_ulp = np.where(same_kind, in_ulp, error)
        relative = np.where(same_kind, relative, error)
    zeroed = (v == 0) & same_kind & standard.representable
    wrong_sign = standard.wrong_signs(v).any(axis=1)
    level = np.maximum(_level(error, standard.allowed), np.where(wrong_sign, GRADES.index("C"), 0))
    level = np.where(mismatch, GRADES.index("F"), level)
    verdict = np.select(
        [
            ~judged,
            mismatch & _any_row(beyond, v, np.isnan),
            mismatch & _any_row(beyond, v, np.isinf),
            mismatch,
            wrong_sign,
            (zeroed & (error > standard.allowed[0])).any(axis=1),
            (level > 0) & (relative >= LOST_FROM).any(axis=1),
            level >= GRADES.index("C"),
        ],
        ["undefined", "nan", "overflow", "swallowed", "wrong_sign", "underflow", "lost", "inaccurate"],
        "correct",
    )
    return Graded(
        grade=np.where(graded, LETTERS[level], np.array(None, object)),
        verdict=verdict,
        finite=_all(finite),
        expected_finite=_all(wanted_finite),
        n_nan=np.isnan(v).sum(axis=1),
        n_posinf=(v == np.inf).sum(axis=1),
        n_neginf=(v == -np.inf).sum(axis=1),
        n_zeroed=zeroed.sum(axis=1),
        max_abs=_largest(error, judged),
        max_rel=_largest(relative, judged),
        max_ulp=_largest(in_ulp, judged),
    )


def _all(entries: NDArray[np.bool_]) -> NDArray[np.bool_]:
    every: NDArray[np.bool_] = np.logical_and.reduce(entries, axis=1)
    return every


def _any_row(where: NDArray[np.bool_] | None, v: Float64, kind: Any) -> Any:
    return False if where is None else (where & kind(v)).any(axis=1)


def _level(error: Float64, allowed: tuple[Float64, ...]) -> NDArray[np.int64]:
    """Index into GRADES of each row's worst entry, of those whose bounds hold for all entries; D where none does."""
    level = np.zeros(len(error), np.int64)
    for bound in allowed:
        level += ~(error <= bound).all(axis=1)
    return level


def _largest(values: Float64, judged: NDArray[np.bool_]) -> Float64:
    return np.where(judged, values.max(axis=1, initial=0.0), np.nan)
