"""Computed values against exact ones: finiteness, errors, grade and verdict of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import FORMATS, Format, round_to, ulp
from ..oracle import Exact, Reference
from ._bounds import GRADES, Row, entry_bounds, loss_bounds, reduced_loss_bounds

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Bounds = tuple[Float64, Float64, Float64]

VERDICTS = ("correct", "inaccurate", "lost", "nan", "overflow", "underflow", "swallowed", "undefined")
SOUND = ("correct", "undefined")  # the verdicts that blame nobody
LOST_FROM = 0.5  # a relative error from which not even the leading bit is right


@dataclass(frozen=True)
class Graded:
    """One quantity of a batch, row by row; all arrays have shape (R,), R the rows, or 1 for a reduced loss.

    ``grade`` holds letters, None where there is nothing to grade; errors are infinite where a value is not of
    the kind it should be, and NaN where no value is right. ``max_rel`` looks only at entries in the dtype's
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
    """
    # The probabilities are the softmax itself, which no target and no reduction touches.
    own = quantity == "probabilities"
    rows = Row.of(logits, np.ones(len(logits)) if own else exact.mass)
    scale = exact.scale
    graded = exact.defined & ~(logits.astype(np.float64) == np.inf).any(axis=1)
    # Where the exact value is not finite a bound is not either, and none is used.
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = _bounds(quantity, exact, row_losses, rows, fmt, scale, reduced=reduction != "none")
    wanted = {"loss": exact.loss, "gradient": exact.gradient, "probabilities": exact.probabilities}[quantity]
    if quantity == "loss":
        wanted = Exact(wanted.hi.reshape(-1, 1), wanted.lo.reshape(-1, 1))
        graded = graded if reduction == "none" else np.atleast_1d(_has_value(exact, graded, reduction))
    return _compare(computed.reshape(wanted.hi.shape), wanted, bounds, fmt, graded)


def _has_value(exact: Reference, graded: NDArray[np.bool_], reduction: str) -> bool:
    """Whether a reduced loss can be graded: every row that counts can, and a mean is over at least one."""
    counts = exact.mass > 0
    over_nothing = reduction == "mean" and not counts.any() and bool(np.isnan(exact.loss.hi))
    return bool((graded | ~counts).all()) and not over_nothing


def _bounds(
    quantity: str, exact: Reference, row_losses: Exact | None, rows: Row, fmt: Format, scale: Float64, *, reduced: bool
) -> Bounds:
    """The bounds of A, B and C in the shape (R, E) of the values that are compared."""
    p = exact.probabilities.hi
    if quantity == "probabilities":
        return entry_bounds(p, p, rows, fmt)
    if quantity == "gradient":
        return entry_bounds(exact.gradient.hi, p, rows, fmt, scale)
    losses = exact.loss if row_losses is None else row_losses
    a, b, c = (
        reduced_loss_bounds(exact.loss.hi, losses.hi, rows, fmt, scale)
        if reduced
        else loss_bounds(losses.hi, rows, fmt)
    )
    return a[:, None], b[:, None], c[:, None]


def _compare(computed: Array, wanted: Exact, bounds: Bounds, fmt: Format, graded: NDArray[np.bool_]) -> Graded:
    v = computed.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        expected = round_to(wanted.hi, _wider(fmt, computed.dtype), wanted.lo)
        same_kind = np.isfinite(v) & np.isfinite(expected)
        right_special = (np.isnan(v) & np.isnan(expected)) | ((v == expected) & np.isinf(expected))
        mismatch = ~same_kind & ~right_special
        error = np.where(same_kind, np.abs((v - wanted.hi) - wanted.lo), np.where(mismatch, np.inf, 0.0))
        in_ulp = np.where(same_kind, error / ulp(wanted.hi, fmt, wanted.lo), error)
        normal = np.abs(wanted.hi) >= fmt.smallest_normal
        relative = np.where(same_kind & normal, error / np.abs(wanted.hi), np.where(mismatch, np.inf, 0.0))
        zeroed = (v == 0) & same_kind & (round_to(wanted.hi, fmt, wanted.lo) != 0)
        level = _worst_level(error, mismatch, bounds)
        lost_bits = zeroed & (error > bounds[0])
    verdict = np.select(
        [
            ~graded,
            (mismatch & np.isnan(v)).any(axis=1),
            (mismatch & np.isinf(v)).any(axis=1),
            mismatch.any(axis=1),
            lost_bits.any(axis=1),
            (level > 0) & (relative >= LOST_FROM).any(axis=1),
            level >= GRADES.index("C"),
        ],
        ["undefined", "nan", "overflow", "swallowed", "underflow", "lost", "inaccurate"],
        "correct",
    )
    letters = np.array(GRADES, object)[level]
    return Graded(
        grade=np.where(graded, letters, np.array(None, object)),
        verdict=verdict,
        finite=_all_finite(v),
        expected_finite=_all_finite(expected),
        n_nan=np.isnan(v).sum(axis=1),
        n_posinf=(v == np.inf).sum(axis=1),
        n_neginf=(v == -np.inf).sum(axis=1),
        n_zeroed=zeroed.sum(axis=1),
        max_abs=_largest(error, graded),
        max_rel=_largest(relative, graded),
        max_ulp=_largest(in_ulp, graded),
    )


def _all_finite(values: Float64) -> NDArray[np.bool_]:
    every: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(values), axis=1)
    return every


def _wider(fmt: Format, out_dtype: np.dtype[Any]) -> Format:
    """The format that decides whether a value may be finite: the answer's own where that reaches further."""
    own = FORMATS[out_dtype.name]
    return own if own.largest > fmt.largest else fmt


def _worst_level(error: Float64, mismatch: NDArray[np.bool_], bounds: Bounds) -> NDArray[np.int64]:
    """Index into GRADES of each row's worst entry."""
    # The best grade whose bound holds: for a large value A's bound, relative to the value alone, is wider than B's.
    # No error passes too, whatever the bound: where the exact value is infinite the bounds are not numbers.
    level = np.full(error.shape, GRADES.index("D"))
    for grade_level in reversed(range(len(bounds))):
        level[(error <= bounds[grade_level]) | (error == 0)] = grade_level
    level[mismatch] = GRADES.index("F")
    worst: NDArray[np.int64] = level.max(axis=1, initial=0)
    return worst


def _largest(values: Float64, graded: NDArray[np.bool_]) -> Float64:
    return np.where(graded, values.max(axis=1, initial=0.0), np.nan)
