"""Exact values and bounds of a batch, built once and shared by every implementation."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format, format_of_result
from ..core.rounding import overflows, rounds_to_zero, ulp
from ..core.vocabulary import Quantity
from ..oracle import Exact, Reference
from ._bounds import Bounds, RowSizes, entry_bounds, loss_bounds, reduced_loss_bounds
from ._transformed import Transformed

Array = NDArray[Any]
Float64 = NDArray[np.float64]


class Errors(NamedTuple):
    """Absolute errors (R, E); infinite unless both values are finite, or the same infinity or NaN.

    ``same_kind`` is True where both are finite, and ``all_same_kind`` whether it is True everywhere.
    """

    absolute: Float64
    same_kind: NDArray[np.bool_]
    all_same_kind: bool

    def relative_to(self, size: Float64) -> Float64:
        """Return the errors in units of ``size``, unchanged where a value is not finite."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            relative = self.absolute / size
        return relative if self.all_same_kind else np.where(self.same_kind, relative, self.absolute)


class Expected(NamedTuple):
    """Exact values (R, E), overflowed as the dtype does; where they are finite; the rows (R,) of finite ones.

    ``saturated`` is where they were replaced by the largest number; None if nowhere.
    """

    values: Float64
    finite: NDArray[np.bool_]
    finite_rows: NDArray[np.bool_]
    saturated: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, exact: Exact, fmt: Format) -> Self:
        # Only this is asked of the rounded values, which would take much longer.
        beyond = overflows(exact.hi, fmt, exact.lo)
        values = np.where(beyond, np.copysign(fmt.overflow_value, exact.hi), exact.hi) if beyond.any() else exact.hi
        finite = np.isfinite(values)
        clipped = beyond.any() and np.isfinite(fmt.overflow_value)
        return cls(values, finite, np.logical_and.reduce(finite, axis=1), beyond if clipped else None)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return the given rows, which may repeat."""
        saturated = None if self.saturated is None else self.saturated[rows]
        return type(self)(self.values[rows], self.finite[rows], self.finite_rows[rows], saturated)


@dataclass(frozen=True, eq=False)
class Standard:
    """One quantity's exact values and bounds: arrays (R, E), R rows, or 1 for a reduced loss.

    Attributes:
        fmt: the case's dtype.
        wanted: the exact values.
        allowed: the largest errors of an entry graded A, B or better, and C or better.
        ulp: the dtype's spacing at each value.
        size: the magnitude by which a relative error is divided; infinite below the normal range, where the format
            keeps no fixed number of digits.
        representable: where the value rounded to the dtype is not 0.
        graded: (R,), whether the row has a grade.
        targets: (R,), for a gradient: the class whose entry must not be positive, while no other may be negative. It is
            -1 where no sign is known. None for the other quantities, which are never negative.
        has_answer: (R,), whether the row has a right answer and so a verdict. An ignored row without a softmax has one,
            exactly 0, and no grade.
    """

    fmt: Format
    wanted: Exact
    allowed: Bounds
    ulp: Float64
    size: Float64
    representable: NDArray[np.bool_]
    graded: NDArray[np.bool_]
    targets: NDArray[np.int64] | None
    has_answer: NDArray[np.bool_]
    _expected: dict[str, Expected] = field(default_factory=dict, repr=False)

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
    ) -> Self:
        """Build the standard of a quantity; `grade` describes the arguments."""
        # Targets and reductions do not change the probabilities, which are the softmax itself.
        x = exact.transform.logits(logits.astype(np.float64))
        transformed = Transformed.of(logits, exact)
        rows = RowSizes.of(x, np.ones(len(logits)) if quantity == Quantity.PROBABILITIES else exact.mass)
        rows = rows if transformed is None else replace(rows, beside=transformed.loss_allowances)
        # Under a softcap x is finite for a logit of +inf. Scaled, x may be infinite for a finite logit.
        infinite = np.isinf(x) & (logits == np.inf)
        graded = exact.defined & ~infinite.any(axis=1)
        wanted: Exact = getattr(exact, quantity)
        if quantity == Quantity.LOSS:
            wanted = Exact(wanted.hi.reshape(-1, 1), wanted.lo.reshape(-1, 1))
            if reduction != "none":
                # A reduced loss has a grade if every row that is not ignored has one, and a mean has such a row.
                graded = np.array([(graded | ~(exact.mass > 0)).all() and not exact.is_over_nothing(reduction)])
        # A bound is not finite where the exact value is not, and is not used there.
        with np.errstate(over="ignore", invalid="ignore"):
            if quantity == Quantity.LOSS:
                if reduction == "none" or row_losses is None:
                    bounds = loss_bounds(exact.loss.hi, rows, fmt)
                else:
                    bounds = reduced_loss_bounds(row_losses.hi, rows, fmt, exact.scale, rows_exposed=rows_exposed)
                bounds = Bounds(*(bound[:, None] for bound in bounds))
            elif transformed is None:
                scale = exact.scale if quantity == Quantity.GRADIENT else 1.0
                bounds = entry_bounds(wanted.hi, exact.probabilities.hi, rows, fmt, scale)
            elif quantity == Quantity.GRADIENT:
                bounds = transformed.gradient_bounds(fmt, exact.scale)
            else:
                bounds = transformed.probability_bounds(fmt)
            targets = exact.sole_target if quantity == Quantity.GRADIENT else None
            return cls.of_values(
                fmt, wanted, bounds, graded, targets, graded | _counts_nothing(quantity, wanted, exact)
            )

    @classmethod
    def of_values(
        cls,
        fmt: Format,
        wanted: Exact,
        bounds: Bounds,
        graded: NDArray[np.bool_],
        targets: NDArray[np.int64] | None,
        has_answer: NDArray[np.bool_],
    ) -> Self:
        """Build the standard of exact values with the largest errors for A, B and C, which need not be in order."""
        size = np.abs(wanted.hi)
        return cls(
            fmt,
            wanted,
            _cumulated(bounds),
            ulp(wanted.hi, fmt, wanted.lo),
            np.where(size >= fmt.smallest_normal, size, np.inf),
            ~rounds_to_zero(wanted.hi, fmt, wanted.lo),
            graded,
            targets,
            has_answer,
            {fmt.name: Expected.of(wanted, fmt)},
        )

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return the standard of the given rows, which may repeat."""
        return replace(
            self,
            wanted=self.wanted[rows],
            allowed=Bounds(*(bound[rows] for bound in self.allowed)),
            ulp=self.ulp[rows],
            size=self.size[rows],
            representable=self.representable[rows],
            graded=self.graded[rows],
            targets=None if self.targets is None else self.targets[rows],
            has_answer=self.has_answer[rows],
            _expected={name: expected.take(rows) for name, expected in self._expected.items()},
        )

    def expected(self, out_dtype: np.dtype[Any]) -> Expected:
        """Return the exact values rounded to the wider of the case's and the answer's dtype.

        This decides where a result must be finite.
        """
        own = format_of_result(out_dtype, self.fmt)
        wider = own if own.largest > self.fmt.largest else self.fmt
        if wider.name not in self._expected:
            self._expected[wider.name] = Expected.of(self.wanted, wider)
        return self._expected[wider.name]

    def errors(self, values: Float64, out_dtype: np.dtype[Any]) -> Errors:
        """Return the errors of values (R, E) that were computed in a dtype."""
        expected = self.expected(out_dtype)
        same_kind = np.isfinite(values)
        same_kind &= expected.finite
        all_same_kind = bool(same_kind.all())
        with np.errstate(invalid="ignore", over="ignore"):
            # In place, since a new array of a wide batch costs more than the subtraction.
            error = values - self.wanted.hi
            error -= self.wanted.lo
            if expected.saturated is not None:  # the right answer is the largest number
                np.subtract(values, expected.values, out=error, where=expected.saturated)
            np.abs(error, out=error)
            if not all_same_kind:  # rare
                both_nan = np.isnan(values) & np.isnan(expected.values)
                right = both_nan | ((values == expected.values) & np.isinf(expected.values))
                error = np.where(same_kind, error, np.where(right, 0.0, np.inf))
        return Errors(error, same_kind, all_same_kind)

    def wrong_signs(self, values: Float64) -> NDArray[np.bool_]:
        """Return where values (R, E) larger than the smallest normal number have a sign that no exact value can have.

        A cross-entropy and a probability are never negative. With one target class the gradient is the softmax, at the
        target the softmax minus 1, times a weight that is never negative.
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
    """Return which rows are exactly 0 whatever their logits; False for a reduced loss and for the softmax."""
    if quantity == Quantity.PROBABILITIES or len(wanted.hi) != len(exact.mass):
        return np.zeros(len(wanted.hi), bool)
    nothing: NDArray[np.bool_] = (exact.mass == 0) & (wanted.hi == 0).all(axis=1)
    return nothing


def _cumulated(bounds: Bounds) -> Bounds:
    """Return bounds for A, B or better, and C or better.

    For a large value A's bound, which is relative to the value, is wider than B's. An error of 0 always passes: the
    bounds of an infinite value are not numbers.
    """
    a, b, c = bounds
    a = np.fmax(a, 0.0)
    b = np.fmax(b, a)
    return Bounds(a, b, np.fmax(c, b))
