"""Find the entry that decides a row's grade, with its error and each grade's bound."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format
from ..core.vocabulary import Grade, Verdict, grade_rank
from ._standard import Standard


@dataclass(frozen=True)
class Margin:
    """One entry of one row of a quantity.

    Attributes:
        entry: its class; 0 for a loss.
        value: the computed value.
        exact: the exact value, rounded to float64.
        error: the absolute error; infinite unless both values are finite or the same.
        ulp: the error in spacings of the case's dtype.
        allowed: the largest errors that A, B and C allow; not finite if the exact value is not.
        fmt: the case's dtype.
    """

    entry: int
    value: float
    exact: float
    error: float
    ulp: float
    allowed: tuple[float, float, float]
    fmt: Format


def margin(standard: Standard, computed: NDArray[Any], row: int, grade: str | None, verdict: str) -> Margin:
    """Return the entry of a row that is closest to losing the row's grade, or that lost the next better one.

    Args:
        standard: the exact values and bounds of the quantity.
        computed: the whole quantity, (B, C), or (B,) for the loss, () if it is reduced.
        row: the row's number, 0 for a reduced loss.
        grade: the row's grade, None if it has none.
        verdict: the row's verdict; ``wrong_sign`` selects the largest entry with a wrong sign.
    """
    values = computed.reshape(standard.wanted.hi.shape).astype(np.float64)
    errors = standard.errors(values, computed.dtype)
    # The deciding bound is A's for an A, otherwise that of the next better grade, which does not hold.
    better = max(0, min(grade_rank(grade), grade_rank(Grade.D)) - 1)
    share = errors.relative_to(standard.allowed[better])[row]
    if verdict == Verdict.WRONG_SIGN:
        share = np.where(standard.wrong_signs(values)[row], np.abs(values[row]), 0.0)
    j = int(np.nan_to_num(share, nan=0.0, posinf=np.inf).argmax())
    in_ulp = errors.relative_to(standard.ulp)[row, j]
    a, b, c = (float(bound[row, j]) for bound in standard.allowed)
    value, exact = float(values[row, j]), float(standard.wanted.hi[row, j])
    return Margin(j, value, exact, float(errors.absolute[row, j]), float(in_ulp), (a, b, c), standard.fmt)
