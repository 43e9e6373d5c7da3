"""Evaluate many plain rows at once in fixed-point arithmetic, with the same bits as `balls`; balls do the rest.

`_fixed_point` gives every value with a proven error bound: relative to the value less than 2^-140, or 2^-125 for a loss
below log 2. The midpoint of a ball lies within the same bounds, up to 2^18 classes. Both ends of an interval twice as
wide are rounded to ``hi`` and ``lo``. If both give the same two floats, the value is decided: the midpoint of a ball
lies between them and gives the same. This fails for about one ordinary row in 1,000. It also fails for a value that is
almost or exactly a float64: the probabilities of equal logits, and a probability or gradient within 2^-85 of 1.

With ``n`` the number of logits equal to the largest, ``U = sum_(x_j < m) e_j`` and otherwise the names of `balls`::

    T = n + U     p_j = e_j / T     gradient_t = -(T - e_t) / T, or -U / T where t alone is largest
    loss = m - x_t + log T, or log1p(U) where t alone is largest

Errors, relative to the value: ``e_j`` 2^-144, by `exp`. The terms of U are aligned to the largest of them, which is at
least 1 - 2^-40, and cut at 2^-180: 2^-143.9, for up to 2^18 classes. T 2^-143.8, ``1 / T`` 2^-143.3, ``p_j`` 2^-142.4.
``T - e_t`` is at least 1 - 2^-40: 2^-142.9, and the gradient 2^-142. log T is off by 2^-142 absolutely. The error
of log1p(U) is relative to it if U is less than 2^-15. Otherwise it is at least 2^-16.1: 2^-125. Any other loss is at
least log 2.
"""

import numpy as np
from numpy.typing import NDArray

from . import _fixed_point as fp
from ._answer import Exact, Reference
from ._fixed_point import Digits, Float64, Int64
from ._rounding import Rounded, rounded, times_power, two_product

Mask = NDArray[np.bool_]

# The relative error of a value and of the midpoint of a ball together.
_TOLERANCE = 2.0**-139
_SMALL_LOSS_TOLERANCE = 2.0**-124  # of a loss below log 2
# Logits evaluated together, few enough for the processor's cache.
_BLOCK = 2**14
_SMALL = -16  # of U, below which log1p is taken by its series
_LARGEST, _LEAST = 1e300, 1e-280  # of a row's logits, so that no difference and no condition leaves float64's range
_WIDE = 2**13  # classes
_NO_EXPONENT = -(2**20)


def evaluate(x: Float64, t: Int64) -> tuple[Reference, Mask]:
    """Return the reference of rows (R, C) of finite or ``-inf`` logits, each with a finite one, and class indices (R,).

    The second array (R,) is True for decided rows. The values of other rows have no meaning.
    """
    rows, classes = x.shape
    loss, p, g = np.zeros((2, rows)), np.zeros((2, rows, classes)), np.zeros((2, rows, classes))
    condition, decided = np.zeros(rows), np.zeros(rows, bool)
    chosen = np.flatnonzero(_in_range(x, t) & ~_repetitive(x))
    blocks = min(len(chosen), -(-len(chosen) * classes // _BLOCK))
    with np.errstate(all="ignore"):  # a row that is not decided may overflow
        for at in np.array_split(chosen, blocks) if blocks else ():
            block = _Block(x[at], t[at])
            p[:, at], sure = block.probabilities()
            of_loss, of_target = block.losses(), block.target_gradients()
            g[:, at] = p[:, at]
            g[:, at, t[at]] = -of_target.hi, -of_target.lo
            loss[:, at] = of_loss.hi, of_loss.lo
            condition[at], known = _condition(block.size, of_target, of_loss)
            decided[at] = sure & of_loss.decided & of_target.decided & known
    exact = Exact(*loss), Exact(*p), Exact(*g)
    return Reference(*exact, condition, np.ones(rows, bool), np.ones(rows), np.array(1.0), t), decided


def _in_range(x: Float64, t: Int64) -> Mask:
    """Return which rows have an unmasked target, two different logits, and all logits in the supported range."""
    finite = np.isfinite(x)
    top, least = x.max(axis=1), np.where(finite, x, np.inf).min(axis=1)
    size = np.maximum(np.abs(top), np.abs(least))
    with np.errstate(invalid="ignore", over="ignore"):
        near = least - top >= fp.LOWEST
    good: Mask = near & (least < top) & (size < _LARGEST) & (size > _LEAST) & finite[np.arange(len(x)), t]
    return good


def _repetitive(x: Float64) -> Mask:
    """Return which rows are wide and have, by their first logits, so few different ones that balls are quicker."""
    if x.shape[1] < _WIDE:
        return np.zeros(len(x), bool)
    some = np.sort(x[:, : _WIDE // 4], axis=1)
    few: Mask = (some[:, 1:] != some[:, :-1]).mean(axis=1) < 0.5
    return few


class _Block:
    """Rows (R, C) evaluated together."""

    def __init__(self, x: Float64, t: Int64) -> None:
        rows = np.arange(len(x))
        top = x.max(axis=1)
        d, low = _difference(x, top[:, None])
        self.masked, ties = np.isinf(d), d == 0
        self.size = np.maximum(np.abs(top), np.abs(np.where(self.masked, np.inf, x).min(axis=1)))
        self.d_target = d[rows, t], low[rows, t]
        d[self.masked], low[self.masked] = 0, 0
        # A wide row is taken in parts, for the processor's cache.
        self.parts = [slice(start, start + _BLOCK) for start in range(0, x.shape[1], _BLOCK)]
        self.powers = [fp.exp(d[:, part], low[:, part]) for part in self.parts]
        self.power_of_target = self._power_of(t)
        below = ~(self.masked | ties)
        self.u, self.u_exponent = _sum(self.powers, [below[:, part] for part in self.parts])
        n = ties.sum(axis=1)
        self.total = _plus_integer(self.u, self.u_exponent, n)
        self.total_one, self.width = fp.normalized(self.total)
        self.inverse = fp.reciprocal(self.total_one)
        self.sole = (n == 1) & (self.d_target[0] == 0)

    def _power_of(self, t: Int64) -> tuple[Digits, Int64]:
        """Return the exponential of each row's class ``t``."""
        m, k = tuple(np.zeros(len(t), np.int64) for _ in range(fp.DIGITS)), np.zeros(len(t), np.int64)
        for part, (digits, exponent) in zip(self.parts, self.powers, strict=True):
            rows = np.flatnonzero((part.start <= t) & (t < part.stop))
            at = rows, t[rows] - part.start
            for into, values in zip((*m, k), (*digits, exponent), strict=True):
                into[rows] = values[at]
        return m, k

    def probabilities(self) -> tuple[Float64, Mask]:
        """Return ``(hi, lo)`` (2, R, C), and the rows in which all are decided."""
        p, decided = np.empty((2, *self.masked.shape)), np.ones(len(self.masked), bool)
        inverse = tuple(digit[:, None] for digit in self.inverse)
        for part, (m, k) in zip(self.parts, self.powers, strict=True):
            found = rounded(fp.multiply(m, inverse), k - self.width[:, None], _TOLERANCE)
            masked = self.masked[:, part]
            p[0, :, part], p[1, :, part] = np.where(masked, 0, found.hi), np.where(masked, 0, found.lo)
            decided &= (found.decided | masked).all(axis=1)
        return p, decided

    def target_gradients(self) -> Rounded:
        """Return minus the gradient at the target: ``(T - e_t) / T``, or ``U / T``."""
        m, k = self.power_of_target
        e_target = fp.shift_right(m, -k)
        rest, exponent = fp.normalized(fp.add(self.total, fp.negative(e_target)))
        rest = tuple(np.where(self.sole, one, other) for one, other in zip(self.u, rest, strict=True))
        exponent = np.where(self.sole, self.u_exponent, exponent)
        return rounded(fp.multiply(rest, self.inverse), exponent - self.width, _TOLERANCE)

    def losses(self) -> Rounded:
        high, low = (fp.from_float(-part) for part in self.d_target)
        log_total = fp.log(self.total_one, self.width)
        loss, exponent = fp.normalized(fp.add(log_total, high, low))
        by_series = np.flatnonzero(self.sole & (self.u_exponent < _SMALL))
        if by_series.size:
            u, u_exponent = tuple(digit[by_series] for digit in self.u), self.u_exponent[by_series]
            of_small = fp.multiply(u, fp.log1p_ratio(fp.shift_right(u, -u_exponent)))
            for digit, small in zip(loss, of_small, strict=True):
                digit[by_series] = small
            exponent[by_series] = u_exponent
        return rounded(loss, exponent, np.where(self.sole, _SMALL_LOSS_TOLERANCE, _TOLERANCE))


def _difference(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """Return ``a - b`` as the exact sum of two floats (D. E. Knuth's TwoSum), the second 0 if the first is infinite."""
    d = a - b
    back = d - a
    low = (a - (d - back)) - (b + back)
    return d, np.where(np.isinf(d), 0, low)


def _sum(powers: list[tuple[Digits, Int64]], chosen: list[Mask]) -> tuple[Digits, Int64]:
    """Return the sums of the chosen numbers of each row, as a number from 1 to 2 and an exponent."""
    largest = [np.where(mask, k, _NO_EXPONENT).max(axis=1) for (_, k), mask in zip(powers, chosen, strict=True)]
    top = np.max(largest, axis=0)
    digits = [np.zeros(len(top), np.int64)] * (fp.DIGITS + 1)
    for (m, k), mask in zip(powers, chosen, strict=True):
        away = np.where(mask, top[:, None] - k, fp.DIGIT_BITS * (fp.DIGITS + 1))
        aligned = fp.shift_right(m, away, fp.DIGITS + 1)
        digits = [total + digit.sum(axis=1) for total, digit in zip(digits, aligned, strict=True)]
    one, exponent = fp.normalized(fp.carried(tuple(digits)))
    return one, exponent + top


def _plus_integer(a: Digits, exponent: Int64, n: Int64) -> Digits:
    """Return ``a 2^exponent + n``, for exponents up to 30."""
    a = fp.shift_right(a, np.maximum(-exponent, 0))
    left = np.maximum(exponent, 0)
    first, *others = (digit << left for digit in a)
    return fp.carried((first + (n << fp.DIGIT_BITS), *others))


def _condition(size: Float64, fall: Rounded, loss: Rounded) -> tuple[Float64, Mask]:
    """Return ``2 size fall / loss`` rounded to float64, and where it is decided.

    Quotient and product are double-word numbers with a relative error below 2^-98. M. Joldes, J.-M. Muller and
    V. Popescu, *Tight and rigorous error bounds for basic building blocks of double-word arithmetic*, ACM Trans. Math.
    Softw. 44, 2017, give 2^-102 for each. fall and loss are off by 2^-124.
    """
    mantissa, exponent = np.frexp(size)
    q = fall.a / loss.a
    product, error = two_product(q, loss.a)
    rest = ((fall.a - product) - error + fall.b - q * loss.b) / loss.a
    high, low = two_product(mantissa, q)
    low = low + mantissa * rest
    off = high * 2.0**-90
    value, lower, upper = high + low, high + (low - off), high + (low + off)
    return times_power(value, exponent + 1 + fall.exponent - loss.exponent), lower == upper
