"""What the values of a batch are held against, whoever computes them: made once, it serves every implementation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.formats import FORMATS, Format, round_to, ulp
from ..oracle import Exact, Reference
from ._bounds import Row, entry_bounds, loss_bounds, reduced_loss_bounds
from ._transformed import Transformed

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Bounds = tuple[Float64, Float64, Float64]


@dataclass(frozen=True, eq=False)
class Standard:
    """One quantity's exact values and what is allowed of them: arrays (R, E), R rows, or 1 for a reduced loss.

    Attributes:
        fmt: the case's dtype.
        wanted: the exact values.
        allowed: the largest errors with which an entry has A, no worse than B, and no worse than C.
        ulp: the dtype's spacing there.
        size: magnitudes that a relative error is relative to: infinite below the normal range, where the format itself
            keeps no fixed number of digits.
        representable: where the value rounded to the dtype is not 0.
        graded: (R,), whether there is something to grade.
        targets: (R,), of a gradient the class whose entry may not be positive, while no other may be negative; -1 where
            no sign is known. None of the other quantities, which are never negative.
        judged: (R,), whether there is a right answer, and so a verdict: also for an ignored row without a softmax,
            which is exactly 0 and gets no grade.
    """

    fmt: Format
    wanted: Exact
    allowed: Bounds
    ulp: Float64
    size: Float64
    representable: NDArray[np.bool_]
    graded: NDArray[np.bool_]
    targets: NDArray[np.int64] | None
    judged: NDArray[np.bool_]
    _expected: dict[str, Float64] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        quantity: str,
        logits: Array,
        fmt: Format,
        exact: Reference,
        reduction: str = "none",
        row_losses: Exact | None = None,
        *,
        rows_exposed: bool = False,
    ) -> Standard:
        """The standard of a quantity; for the arguments see `grade`."""
        # The probabilities are the softmax itself, which no target and no reduction touches.
        x = exact.transform.logits(logits.astype(np.float64))
        transformed = Transformed.of(logits, exact)
        rows = Row.of(x, np.ones(len(logits)) if quantity == "probabilities" else exact.mass)
        rows = rows if transformed is None else replace(rows, beside=transformed.loss_allowances)
        # A logit of +inf is not one of x under a softcap, and a finite one may be beyond float64 where x is.
        infinite = np.isinf(x) & (logits == np.inf)
        graded = exact.defined & ~infinite.any(axis=1)
        wanted = {"loss": exact.loss, "gradient": exact.gradient, "probabilities": exact.probabilities}[quantity]
        if quantity == "loss":
            wanted = Exact(wanted.hi.reshape(-1, 1), wanted.lo.reshape(-1, 1))
            graded = graded if reduction == "none" else np.atleast_1d(_has_value(exact, graded, reduction))
        # Where the exact value is not finite a bound is not either, and none is used.
        with np.errstate(over="ignore", invalid="ignore"):
            losses = None if reduction == "none" else row_losses
            if transformed is None or quantity == "loss":
                bounds = _bounds(quantity, exact, losses, rows, fmt, rows_exposed)
            elif quantity == "gradient":
                bounds = transformed.gradient_bounds(fmt, exact.scale)
            else:
                bounds = transformed.probability_bounds(fmt)
            size = np.abs(wanted.hi)
            rounded = round_to(wanted.hi, fmt, wanted.lo)
            return cls(
                fmt,
                wanted,
                _cumulated(bounds),
                ulp(wanted.hi, fmt, wanted.lo),
                np.where(size >= fmt.smallest_normal, size, np.inf),
                rounded != 0,
                graded,
                exact.sole_target if quantity == "gradient" else None,
                graded | _counts_nothing(quantity, wanted, exact),
                {fmt.name: rounded},
            )

    def expected(self, out_dtype: np.dtype[Any]) -> Float64:
        """The values rounded to the format that decides whether one may be finite: the answer's own dtype where that
        reaches further than the case's.
        """
        own = FORMATS[out_dtype.name]
        wider = own if own.largest > self.fmt.largest else self.fmt
        if wider.name not in self._expected:
            with np.errstate(over="ignore", invalid="ignore"):
                self._expected[wider.name] = round_to(self.wanted.hi, wider, self.wanted.lo)
        return self._expected[wider.name]

    def wrong_signs(self, values: Float64) -> NDArray[np.bool_]:
        """(R, E), where a value has a sign that no exact value can have, and is larger than the smallest normal number.

        A cross-entropy and a probability are never negative. With one target class the gradient is the softmax, and at
        the target the softmax minus 1, times a weight that is never negative.
        """
        t = self.fmt.smallest_normal
        wrong: NDArray[np.bool_] = values < -t
        if self.targets is not None:
            wrong[self.targets < 0] = False
            rows = np.flatnonzero(self.targets >= 0)
            at = rows, self.targets[rows]
            wrong[at] = values[at] > t
        return wrong


def _counts_nothing(quantity: str, wanted: Exact, exact: Reference) -> NDArray[np.bool_]:
    """Which rows are exactly 0 whatever is in them; a reduced loss and the softmax itself are no such rows."""
    if quantity == "probabilities" or len(wanted.hi) != len(exact.mass):
        return np.zeros(len(wanted.hi), bool)
    nothing: NDArray[np.bool_] = (exact.mass == 0) & (wanted.hi == 0).all(axis=1)
    return nothing


def _has_value(exact: Reference, graded: NDArray[np.bool_], reduction: str) -> bool:
    """Whether a reduced loss can be graded: every row that counts can, and a mean is over at least one."""
    counts = exact.mass > 0
    over_nothing = reduction == "mean" and not counts.any() and bool(np.isnan(exact.loss.hi))
    return bool((graded | ~counts).all()) and not over_nothing


def _bounds(
    quantity: str, exact: Reference, row_losses: Exact | None, rows: Row, fmt: Format, rows_exposed: bool
) -> Bounds:
    """The bounds of A, B and C in the shape (R, E) of the values; with ``row_losses`` those of a reduced loss."""
    p, scale = exact.probabilities.hi, exact.scale
    if quantity == "probabilities":
        return entry_bounds(p, p, rows, fmt)
    if quantity == "gradient":
        return entry_bounds(exact.gradient.hi, p, rows, fmt, scale)
    a, b, c = (
        loss_bounds(exact.loss.hi, rows, fmt)
        if row_losses is None
        else reduced_loss_bounds(row_losses.hi, rows, fmt, scale, rows_exposed=rows_exposed)
    )
    return a[:, None], b[:, None], c[:, None]


def _cumulated(bounds: Bounds) -> Bounds:
    """What a grade no worse than each allows: for a large value A's bound, relative to the value alone, is wider than
    B's.

    No error at all passes whatever the bound: where the exact value is infinite the bounds are not numbers.
    """
    a, b, c = bounds
    a = np.fmax(a, 0.0)
    b = np.fmax(b, a)
    return a, b, np.fmax(c, b)
