"""The score of a row, which a hunt increases: how bad the row is, in one number.

The measure ``bound`` orders rows by grade, and within a grade by ``of_bound``. That is the error over the largest error
that the grade allows at that row (for D, that C allows). The bounds of `grading/_bounds.py` grow with the row's own
difficulty, ``|ln v|`` for a small value and ``max|x|`` for an offset. So an ill-conditioned row does not score higher
for that reason. The measure ``ulp`` orders rows by the largest error in ulp. There, a loss of 1e-38 beside logits of
1e30 exceeds every other row in any loss that adds the maximum back, which is a known fact.

An F, finite instead of not finite or the reverse, scores above every number, and a row without an answer above F.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import Grade, grade_rank
from ...grading import Graded, Standard, grade_by
from ...oracle import Reference

Array = NDArray[Any]
Float64 = NDArray[np.float64]

BY_BOUND, BY_ULP = MEASURES = ("bound", "ulp")
NOT_GRADED = -np.inf
# The first four grades have scores from 0 to 4 in both measures.
NOT_FINITE = 4.0
NO_ANSWER = 5.0


@dataclass(frozen=True, eq=False)
class Scored:
    """One quantity of a batch, arrays (B,); ``score`` is `NOT_GRADED` for an ungraded row."""

    score: Float64
    of_bound: Float64
    graded: Graded


def score(quantity: str, computed: Array, logits: Array, fmt: Format, exact: Reference, measure: str) -> Scored:
    """Return the scores of rows in one quantity.

    Args:
        quantity: ``probabilities``, ``loss`` or ``gradient``.
        computed: (B,) for the loss, else (B, C), in the returned dtype.
        logits: (B, C) as the dtype holds them.
        fmt: the dtype.
        exact: the reference of the rows, with their loss options.
        measure: ``bound`` or ``ulp``.
    """
    standard = Standard.of(quantity, logits, fmt, exact)
    graded = grade_by(standard, computed)
    known = np.array([letter is not None for letter in graded.grade], bool)
    level = np.array([max(0, grade_rank(letter)) for letter in graded.grade], np.int64)
    of_bound = _of_bound(standard, computed, level)
    with np.errstate(invalid="ignore", divide="ignore"):
        if measure == BY_ULP:
            size = np.log1p(graded.max_ulp)
            values = NOT_FINITE * size / (1 + size)
        else:
            # D has no upper bound, so 1 to infinity is mapped to 0 to 1.
            values = level + np.where(level < grade_rank(Grade.D), of_bound, 1 - 1 / of_bound)
    values = np.where(level == grade_rank(Grade.F), NOT_FINITE, values)
    return Scored(np.where(known, values, NOT_GRADED), np.where(known, of_bound, np.nan), graded)


def _of_bound(standard: Standard, computed: Array, level: NDArray[np.int64]) -> Float64:
    """Return (B,), the largest error of a row's entries over the bound of the row's grade; infinite for F."""
    errors = standard.errors(computed.reshape(standard.wanted.hi.shape).astype(np.float64), computed.dtype)
    allowed = np.stack(standard.allowed)[np.minimum(level, len(standard.allowed) - 1), np.arange(len(level))]
    share = np.where(errors.same_kind, errors.relative_to(allowed), 0.0)
    largest: Float64 = np.where(level == grade_rank(Grade.F), np.inf, share.max(axis=1, initial=0.0))
    return largest
