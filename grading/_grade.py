"""Compare computed values with exact ones: finiteness, errors, grade and verdict of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format
from ..core.vocabulary import GRADES, VERDICTS, Grade, Verdict, grade_rank
from ..oracle import Exact, Reference
from ._bounds import Bounds
from ._standard import Errors, Standard

Array = NDArray[Any]
Float64 = NDArray[np.float64]

LETTERS = np.array(GRADES, object)
_WORDS = np.array(VERDICTS)
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

    @classmethod
    def joined(cls, parts: Sequence[Graded]) -> Graded:
        """Return the grades of several batches as those of one."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})

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
    error, allowed = errors.absolute, standard.allowed
    max_rel = errors.relative_to(standard.size).max(axis=1, initial=0.0)
    max_ulp = errors.relative_to(standard.ulp).max(axis=1, initial=0.0)
    kinds = _Kinds.of(v, errors)
    zeroed = v == 0
    if zeroed.any():
        zeroed &= standard.representable
        zeroed &= errors.same_kind
    underflow = (zeroed & (error > allowed.a)).any(axis=1) if zeroed.any() else _none(v)
    wrong_sign = standard.wrong_signs(v).any(axis=1)
    level = np.maximum(_level(error, allowed), np.where(wrong_sign, grade_rank(Grade.C), 0))
    level[kinds.mismatch] = grade_rank(Grade.F)
    # The first that holds is the verdict.
    faults = {
        Verdict.UNDEFINED: ~has_answer,
        Verdict.NAN: kinds.wrong_nan,
        Verdict.OVERFLOW: kinds.wrong_infinity,
        Verdict.SWALLOWED: kinds.mismatch,
        Verdict.WRONG_SIGN: wrong_sign,
        Verdict.UNDERFLOW: underflow,
        Verdict.LOST: (level > 0) & (max_rel >= LOST_FROM),
        Verdict.INACCURATE: level >= grade_rank(Grade.C),
    }
    return Graded(
        grade=np.where(standard.graded, LETTERS[level], np.array(None, object)),
        verdict=_first_of(faults),
        finite=kinds.finite,
        expected_finite=standard.expected(computed.dtype).finite_rows.copy(),
        n_nan=kinds.n_nan,
        n_posinf=kinds.n_posinf,
        n_neginf=kinds.n_neginf,
        n_zeroed=zeroed.sum(axis=1),
        max_abs=_answered(error.max(axis=1, initial=0.0), has_answer),
        max_rel=_answered(max_rel, has_answer),
        max_ulp=_answered(max_ulp, has_answer),
    )


class _Kinds(NamedTuple):
    """Counts of the values that are not finite, and whether a row has values of another kind than the exact ones.

    All arrays have shape (R,).
    """

    finite: NDArray[np.bool_]
    n_nan: NDArray[np.int64]
    n_posinf: NDArray[np.int64]
    n_neginf: NDArray[np.int64]
    mismatch: NDArray[np.bool_]
    wrong_nan: NDArray[np.bool_]
    wrong_infinity: NDArray[np.bool_]

    @classmethod
    def of(cls, v: Float64, errors: Errors) -> Self:
        none, n = _none(v), np.zeros(len(v), np.int64)
        if errors.all_same_kind:  # usual, and then all values are finite
            return cls(~none, n, n, n, none, none, none)
        is_nan, is_infinite = np.isnan(v), np.isinf(v)
        wrong = ~errors.same_kind & (errors.absolute > 0)
        return cls(
            finite=~_any(is_nan | is_infinite),
            n_nan=is_nan.sum(axis=1),
            n_posinf=(v == np.inf).sum(axis=1),
            n_neginf=(v == -np.inf).sum(axis=1),
            mismatch=_any(wrong),
            wrong_nan=_any(wrong & is_nan),
            wrong_infinity=_any(wrong & is_infinite),
        )


def _none(values: Float64) -> NDArray[np.bool_]:
    return np.zeros(len(values), bool)


def _any(entries: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.logical_or.reduce(entries, axis=1)
    return found


def _first_of(faults: dict[Verdict, NDArray[np.bool_]]) -> Array:
    """Return each row's first fault, or ``correct``. This is np.select, which is slower."""
    place = np.full(len(faults[Verdict.UNDEFINED]), VERDICTS.index(Verdict.CORRECT))
    for fault in reversed(faults):
        place[faults[fault]] = VERDICTS.index(fault)
    verdicts: Array = _WORDS[place]
    return verdicts


def _level(error: Float64, allowed: Bounds) -> NDArray[np.int64]:
    """Return for each row the index into GRADES of the best grade whose bound holds for all entries, else of D."""
    level = np.zeros(len(error), np.int64)
    for bound in allowed:
        beyond = ~(error <= bound).all(axis=1)
        if not beyond.any():  # each bound is at least as wide as the one before
            break
        level += beyond
    return level


def _answered(largest: Float64, has_answer: NDArray[np.bool_]) -> Float64:
    return largest if has_answer.all() else np.where(has_answer, largest, np.nan)
