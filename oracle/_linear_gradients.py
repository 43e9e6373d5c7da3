"""The linear problem's gradients: sums of a gradient by the logits times hidden states, or times weights.

`bounded_product` finds most entries. Balls find the others: those that cancel almost completely, or are beyond
float64's ordinary range.

A sum that cancels completely would need a precision at which it rounds to 0 in float64. Two rules find such zeros
first. With ``e_v`` the exponential of the distinct logit v, ``n_v`` classes that have it, ``W_v`` the sum of their
weights ``w_jk``, and ``S = sum_j q_j w_jk`` (otherwise the names of `balls`)::

    sum_j g_j w_jk = sum_v e_v (Q W_v - n_v S) / T

The ``e_v`` are exponentials of distinct rational numbers. By the theorem of Lindemann and Weierstrass they are linearly
independent over the rational numbers: the sum is 0 if, and only if, each bracket is. For the weight's gradient
``sum_i (Q_i p_ij - q_ij) h_ik``, rows that have the same ``p_ij`` are added first.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpq
from numpy.typing import NDArray

from . import balls
from ._answer import Exact
from ._products import NO_EXPONENT, Factors, bounded_product
from ._rows import LogitRows, TargetRows
from .balls import ExactRow, GradientBalls
from .transform import Transform

Float64 = NDArray[np.float64]

_NORMAL = 2.0**-900  # of a larger number, three floats hold more than 150 bits
_BEYOND = 2**20  # the exponent of a number that is far beyond float64, or minus it
_ENTRIES = 2**16  # balls of one product


class LinearGradients:
    """The gradients of rows whose logits are ``hidden weight^T``, from the rows' gradients by the logits.

    Arguments are hidden (B, K) and weight (C, K), possibly infinite or NaN. `visit` must be called with each row.
    """

    def __init__(
        self, hidden: Float64, weight: Float64, logits: LogitRows, targets: TargetRows, transform: Transform
    ) -> None:
        shape = logits.special.shape
        self._hidden, self._weight = hidden, weight
        self._logits, self._targets, self._transform = logits, targets, transform
        self._factors = Factors(np.zeros((3, *shape)), np.zeros(shape), np.full(shape, NO_EXPONENT, np.int64))
        self._special = np.zeros(shape)  # the gradients by the logits that are infinite or NaN
        self._balls: dict[tuple[int, int], GradientBalls | None] = {}
        # Kept for the rules about exact zeros.
        self._columns: dict[int, list[tuple[int, fmpq]]] = {}
        self._masses: dict[int, fmpq] = {}
        self._shapes: dict[Any, int] = {}
        self._shape_of_row: dict[int, int] = {}

    def visit(self, r: int, row: ExactRow | None) -> None:
        """Take a row's gradient by the logits; None for a row without limit."""
        found = row.gradient_balls if row is not None and self._targets.divisor else None
        self._balls[r, balls.START_BITS] = found
        if found is None:
            self._special[r] = np.nan
            return
        f, numbers = self._factors, np.array([*map(_number, found.values), _number(arb(0))])
        at_targets = np.array([_number(b) for b in found.at_targets.values()]).reshape(-1, 6)
        for into, of_classes, of_targets in zip(
            (*f.parts[:, r], f.error[r], f.exponent[r], self._special[r]), numbers.T, at_targets.T, strict=True
        ):
            into[:] = of_classes[found.where]
            into[list(found.at_targets)] = of_targets

    def of_weight(self) -> Exact:
        """Return the gradient by the weight (C, K): entry j, k is the sum over rows of ``g_ij h_ik``."""
        if not self._targets.divisor:  # a mean over nothing, perhaps not even over ignored rows
            return Exact(np.full(self._weight.shape, np.nan), np.zeros(self._weight.shape))
        known = _infinite_terms(self._special.T, self._factors.parts[0].T, self._hidden)
        x = _finite(self._hidden)
        exact, decided = bounded_product(self._factors.transposed, x)

        def row(j: int, bits: int) -> list[Any]:
            return [b[j] if (b := self._row_balls(i, bits)) is not None else arb(0) for i in range(len(x))]

        return _completed(exact, decided, known, x, row, self._cancels_over_rows)

    def of_hidden(self, width: int) -> Exact:
        """Return the gradient by the first columns of the hidden states: entry i, k is the sum of ``g_ij w_jk``."""
        weight = self._weight[:, :width]
        known = _infinite_terms(self._special, self._factors.parts[0], weight)
        x = _finite(weight)
        exact, decided = bounded_product(self._factors, x)

        def row(i: int, bits: int) -> list[Any]:
            found = self._row_balls(i, bits)
            return [arb(0)] * len(x) if found is None else [found[j] for j in range(len(x))]

        return _completed(exact, decided, known, x, row, lambda i, k: self._cancels_over_classes(i, x[:, k]))

    def _row_balls(self, r: int, bits: int) -> GradientBalls | None:
        if (r, bits) not in self._balls:
            with balls.precision(bits):
                found = self._logits.exact_row(r, self._targets, self._transform, bits)
            self._balls[r, bits] = None if found is None else found.gradient_balls
        return self._balls[r, bits]

    def _is_ordinary(self, r: int) -> bool:
        """Return whether a row's gradient is by its softmax, with neither a cap nor the limit of an infinite logit."""
        found = self._balls[r, balls.START_BITS]
        return self._transform.softcap is None and found is not None and bool(found.values)

    def _cancels_over_classes(self, r: int, column: Float64) -> bool:
        """Return whether ``sum_j g_j w_j`` is exactly 0, for the row's gradient and the weights (C,)."""
        if not self._is_ordinary(r):
            return False
        z_loss = self._transform.z_loss
        if not z_loss and (column == column[0]).all():
            return True
        numbers, logits, weights = _integers(column), self._logits.distinct(r), self._targets.weights[r]
        sums = [0] * len(logits.values)
        for place, number in zip(logits.where.tolist(), numbers, strict=True):
            if place >= 0:
                sums[place] += number
        # The z-loss adds 2 c y sum_v e_v W_v / T, where the logarithm y is in general no combination of exponentials.
        if z_loss and any(sums):
            return False
        q_sum, s = self._mass(r), sum((q * numbers[j] for j, q in weights.items()), fmpq(0))
        return all(q_sum * w == n * s for w, n in zip(sums, logits.counts, strict=True))

    def _cancels_over_rows(self, j: int, k: int) -> bool:
        """Return whether ``sum_i g_ij h_ik`` is found to be exactly 0."""
        if self._transform.z_loss:
            return False
        if k not in self._columns:
            column = _finite(self._hidden[:, k])
            rows = [r for r in np.flatnonzero(column).tolist() if self._targets.weights[r]]
            self._columns[k] = [(r, fmpq(*column[r].as_integer_ratio())) for r in rows]
        rational, sums = fmpq(0), dict[tuple[int, int], fmpq]()
        for r, h in self._columns[k]:
            if not self._is_ordinary(r):
                return False
            q, logits = self._targets.weights[r].get(j), self._logits.distinct(r)
            rational -= q * h if q is not None else 0
            place, weighted = logits.where.item(j), self._mass(r) * h
            if place >= 0 and len(logits.values) == 1:
                rational += weighted / logits.counts[0]
            elif place >= 0:
                key = self._shape(r), place
                sums[key] = sums.get(key, 0) + weighted
        return not rational and not any(sums.values())

    def _mass(self, r: int) -> fmpq:
        """Return the sum of a row's target weights."""
        if r not in self._masses:
            self._masses[r] = sum(self._targets.weights[r].values(), fmpq(0))
        return self._masses[r]

    def _shape(self, r: int) -> int:
        """Return a number that rows share if their probabilities are equal, apart from the order of classes."""
        if r not in self._shape_of_row:
            logits = self._logits.distinct(r)
            below = tuple(logits.values[-1] - v for v in logits.values)
            self._shape_of_row[r] = self._shapes.setdefault((below, tuple(logits.counts)), len(self._shapes))
        return self._shape_of_row[r]


def _number(ball: Any) -> tuple[float, float, float, float, float, float]:
    """Return the three parts of a ball, its error and exponent (see `Factors`), and its value if it is not finite.

    A ball of ``a`` bits of relative accuracy has a radius of less than 2^(2 - a) of its value. The three parts have 158
    bits of its midpoint.
    """
    if ball.is_zero():
        return 0.0, 0.0, 0.0, 0.0, NO_EXPONENT, 0.0
    if not ball.is_finite():
        return 0.0, 0.0, 0.0, np.inf, _BEYOND, float(ball.mid())
    first, accuracy = float(ball), min(ball.rel_accuracy_bits(), 150)
    if accuracy > 20 and _NORMAL <= abs(first) < np.inf:
        rest = ball - first
        second = float(rest)
        error = abs(first) * 2.0 ** (3 - accuracy)
        return first, second, float(rest - second), error, math.frexp(first)[1] + 1, 0.0
    mantissa, exponent = ball.abs_upper().man_exp()
    power = min(max(int(exponent) + int(mantissa).bit_length(), -_BEYOND), _BEYOND)
    return 0.0, 0.0, 0.0, 2.0 ** max(power, -1074) if power < 1024 else np.inf, power, 0.0


def _integers(column: Float64) -> list[int]:
    """Return finite numbers times a power of two as integers, exactly."""
    mantissas, exponents = np.frexp(column)
    shifts = exponents - exponents[column != 0].min(initial=2**20)
    return [
        m << s if m else 0
        for m, s in zip((mantissas * 2.0**53).astype(np.int64).tolist(), shifts.tolist(), strict=True)
    ]


def _finite(x: Float64) -> Float64:
    """Return the array with 0 in place of infinite and NaN numbers."""
    good = np.isfinite(x)
    return x if good.all() else np.where(good, x, 0.0)


def _infinite_terms(special: Float64, numbers: Float64, x: Float64) -> Float64 | None:
    """Return the sums (M, K) of the infinite and NaN terms of ``a x``, 0 where there are none; None if none exist.

    ``special`` (M, N) has the infinite and NaN numbers of a, ``numbers`` its finite ones; x is (N, K).
    A zero in a, times an infinity, is 0: a zero gradient by a logit is the limit of an exponential of this infinity, or
    belongs to an ignored row.
    """
    affected = np.flatnonzero((special != 0).any(axis=0) | ~np.isfinite(x).all(axis=1))
    if not affected.size:
        return None
    sums = np.zeros((len(special), x.shape[1]))
    a = np.where(special != 0, special, np.sign(numbers))
    with np.errstate(invalid="ignore"):
        for n in affected:
            signs = np.where(np.isfinite(x[n]), np.sign(x[n]), x[n])
            terms = a[:, n, None] * signs
            terms[np.isfinite(terms) | (a[:, n, None] == 0)] = 0.0
            sums += terms
    return sums


def _completed(
    exact: Exact,
    decided: NDArray[np.bool_],
    known: Float64 | None,
    x: Float64,
    row: Callable[[int, int], list[Any]],
    cancels: Callable[[int, int], bool],
) -> Exact:
    """Complete the entries (M, K) of a product with x (N, K) that are not decided.

    ``row(m, bits)`` returns the balls of the first factor's row, and ``cancels(m, k)`` whether an entry is exactly 0.
    """
    if known is not None:
        at = known != 0
        exact.hi[at], exact.lo[at], decided = known[at], 0.0, decided | at
    for m in np.flatnonzero(~decided.all(axis=1)).tolist():
        left = np.flatnonzero(~decided[m])
        exact.hi[m, left] = exact.lo[m, left] = 0.0
        bits = balls.START_BITS
        while left.size:
            with balls.precision(bits):
                factors = row(m, bits)
                terms = [n for n, ball in enumerate(factors) if ball.is_finite() and not ball.is_zero()]
                wide = max(1, _ENTRIES // max(1, len(terms)))
                blurred = [
                    k
                    for start in range(0, left.size, wide)
                    for k in _entries(exact, m, left[start : start + wide], [factors[n] for n in terms], terms, x)
                ]
            if bits == balls.START_BITS:
                blurred = [k for k in blurred if not cancels(m, k)]
            left = np.array(blurred, np.intp)
            bits *= 2
    return exact


def _entries(exact: Exact, m: int, ks: NDArray[np.intp], factors: list[Any], terms: list[int], x: Float64) -> list[int]:
    """Write the entries (m, k) that are sharp at the current precision, and return the others' columns."""
    of_x = x[np.ix_(np.array(terms, np.intp), ks)].ravel().tolist()
    found = arb_mat(1, len(factors), factors) * arb_mat(len(factors), len(ks), of_x)
    blurred = []
    for k, ball in zip(ks.tolist(), found.entries(), strict=True):
        if balls.sharp(ball):
            exact.hi[m, k], exact.lo[m, k] = balls.split(ball)
        else:
            blurred.append(k)
    return blurred
