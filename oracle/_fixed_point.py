"""Fixed-point numbers with 150 fractional bits, one for each entry of an array, in NumPy's int64.

A number has five arrays of digits ``a_0 .. a_4`` in base ``2^30`` and the value ``sum_i a_i 2^(-30 (i + 1))``. Digits 1
to 4 are in ``[0, 2^30)``. Digit 0 has the sign and the rest of the integer part, and ``|a_0| <= 2^31`` where two
numbers are multiplied. The arithmetic is on integers, so that the only errors are bits dropped below ``2^-150``. An
error bound counts the dropped bits. Errors below are absolute unless stated otherwise.

`multiply` drops the products of digits with a weight of ``2^-210`` or less and rounds the rest down to a multiple of
``2^-150``. Digits 1 to 4 are not negative, so that its error is between 0 and::

    4 * 2^60 * 2^-210 + 3 * 2^60 * 2^-240 + ... + 2^-150 < 2^-147.6

and with three digits by ``2 * 2^60 * 2^-150 + 2^60 * 2^-180 + 2^-90 < 2^-88.4``.
Its sums stay below ``2^63``: the longest is ``a_0 b_4 + a_1 b_3 + a_2 b_2 + a_3 b_1 + a_4 b_0``, at most
``2 * 2^31 * 2^30 + 3 * 2^60 = 7 * 2^60``.
"""

import functools
import math
import operator
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from .balls import precision

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Digits = tuple[Int64, ...]

DIGIT_BITS = 30
DIGITS = 5
FRACTION_BITS = DIGIT_BITS * DIGITS
# The smallest argument of ``exp``: the product of a step's number and a digit of log 2 stays below 2^63.
LOWEST = -3500.0

_MASK = (1 << DIGIT_BITS) - 1
_TABLE_BITS = 10
_STEP_BITS = 2 * _TABLE_BITS  # exp's argument is reduced by multiples of log(2) / 2^20
_STEPS_PER_UNIT = 2.0**_STEP_BITS / float(np.log(2.0))


def digits_of(value: int, count: int = DIGITS) -> tuple[int, ...]:
    """Return the digits of ``value * 2^(-30 count)``."""
    low = [(value >> (DIGIT_BITS * i)) & _MASK for i in range(count - 1)]
    return (value >> (DIGIT_BITS * (count - 1)), *reversed(low))


def fraction(numerator: int, denominator: int) -> tuple[int, ...]:
    """Return the digits of a fraction, rounded down."""
    return digits_of((numerator << FRACTION_BITS) // denominator)


_ZERO = (0,) * DIGITS
ONE = fraction(1, 1)
MINUS_ONE = fraction(-1, 1)
# The terms of exp's series: the first left out is r^7 / 7! < 2^-155 for r < 2^-20.5.
_TERMS = [fraction(1, math.factorial(k)) for k in range(7)]
_FEW = 3  # digits of the terms from r^3 / 3! on, which are less than 2^-64


@functools.cache
def _constants() -> tuple[tuple[int, ...], tuple[Digits, Digits]]:
    """Return six digits of ``log(2) / 2^20``, and ``2^(i / 2^10)`` and ``2^(j / 2^20)`` for i, j below 2^10, by Arb.

    Each is rounded down.
    """
    with precision(2 * FRACTION_BITS):
        log_2 = arb(2).log()
        step = digits_of(_floor(log_2 * arb(2) ** (FRACTION_BITS + DIGIT_BITS - _STEP_BITS)), DIGITS + 1)
        tables = []
        for bits in (_TABLE_BITS, _STEP_BITS):
            powers = [(log_2 * i / (1 << bits)).exp() * arb(2) ** FRACTION_BITS for i in range(1, 1 << _TABLE_BITS)]
            # The first is exactly 1, to which no ball of positive radius can be rounded down.
            numbers = [ONE, *(digits_of(_floor(power)) for power in powers)]
            tables.append(tuple(np.array(numbers, np.int64).T.copy()))
    return step, (tables[0], tables[1])


def _floor(ball: Any) -> int:
    """Return the integer part that all numbers in the ball share."""
    number = ball.floor().unique_fmpz()
    if number is None:
        raise ArithmeticError(f"{ball} has more than one integer part")
    return int(number)


def carried(digits: Digits) -> Digits:
    """Return the same number with digits 1 to 4 in range. The given digits may have either sign, up to 2^62."""
    *above, last = digits
    out = [last & _MASK]
    for digit in reversed(above[1:]):
        last = digit + (last >> DIGIT_BITS)
        out.append(last & _MASK)
    out.append(above[0] + (last >> DIGIT_BITS))
    return tuple(reversed(out))


def multiply(a: Digits, b: Digits, plus: tuple[int, ...] = _ZERO) -> Digits:
    """Return ``a b + plus`` of numbers with the same count of digits; the module gives the error."""
    count = len(a)
    column = _column(a, b, count - 1)
    digits = []
    for i in range(count - 1, 0, -1):
        column = _column(a, b, i - 1) + ((column >> DIGIT_BITS) + plus[i])
        digits.append(column & _MASK)
    return ((column >> DIGIT_BITS) + plus[0], *reversed(digits))


def _column(a: Digits, b: Digits, order: int) -> Int64:
    """Return the sum of the products of digits of one weight."""
    total = a[0] * b[order]
    for i in range(1, order + 1):
        total += a[i] * b[order - i]
    return total


def negative(a: Digits) -> Digits:
    """Return ``-a``, exactly."""
    return carried(tuple(-digit for digit in a))


def add(*numbers: Digits) -> Digits:
    """Return the sum, exactly."""
    return carried(tuple(functools.reduce(operator.add, digits) for digits in zip(*numbers, strict=True)))


def from_float(values: Float64) -> Digits:
    """Convert floats up to 2^20 to digits, not carried, off by less than 2^-150 towards zero.

    A float times 2^30, its integer part and the rest are floats, so that nothing is rounded.
    """
    out = []
    rest = values
    for _ in range(DIGITS):
        if not rest.any():
            out.append(np.zeros(values.shape, np.int64))
            continue
        rest = rest * 2.0**DIGIT_BITS
        whole = np.trunc(rest)
        out.append(whole.astype(np.int64))
        rest = rest - whole
    return tuple(out)


def leading(a: Digits) -> Float64:
    """Return the value in float64, within a relative 2^-52 for values from 2^-20 to 2^12 and exactly for zero."""
    value: Float64 = (a[0] + a[1] * 2.0**-30 + a[2] * 2.0**-60) * 2.0**-30
    return value


def shift_right(a: Digits, bits: Int64, count: int = DIGITS) -> Digits:
    """Return ``a 2^-bits`` to ``count`` (5 or 6) digits, rounded down, for non-negative ``a`` and ``bits``."""
    whole = np.minimum(bits // DIGIT_BITS, count)
    part = bits % DIGIT_BITS
    rest, up = (1 << part) - 1, DIGIT_BITS - part
    padded = np.zeros((2 * count, *a[0].shape), np.int64)
    padded[count] = a[0] >> part
    for i in range(1, count):
        np.left_shift(a[i - 1] & rest, up, out=padded[count + i])
        if i < len(a):
            padded[count + i] += a[i] >> part
    if not whole.any():
        return tuple(padded[count:])
    size = a[0].size
    flat, at = padded.reshape(-1), ((count - whole).reshape(-1) * size + np.arange(size)).reshape(a[0].shape)
    # Digit 0 has one bit more than fits into the others.
    return carried(tuple(flat.take(at + i * size) for i in range(count)))


def normalized(a: Digits) -> tuple[Digits, Int64]:
    """Return a number from 2^-30 to 2^30, of any count of digits, as ``(b, e)`` with ``a = b 2^e``.

    b is from 1 - 2^-50 to 2, has five digits and is off by less than 2^-149.
    """
    exponent = (np.frexp(leading(a))[1] - 1).astype(np.int64)
    left, right = np.maximum(-exponent, 0), np.maximum(exponent, 0)
    if left.any():
        a = carried(tuple(digit << left for digit in a))
    return shift_right(a[:DIGITS], right), exponent


def exp(high: Float64, low: Float64 | None = None) -> tuple[Digits, Int64]:
    """Return ``exp(high + low)`` as ``(m, k)`` for ``m 2^k``, m from 1 - 2^-40 to 2 + 2^-40, off by less than 2^-144.

    ``high`` is at most 0 and at least `LOWEST`, ``|low| <= 2^-52 |high|``.

    With ``n = floor(high 2^20 / log 2)``, ``n = 2^20 k + 2^10 i + j`` and ``r = high + low - n log(2) / 2^20``, it is
    ``2^k 2^(i / 2^10) 2^(j / 2^20) exp(r)``, where r is from -2^-40 to 2^-20.5. Both floats are within 2^-150 of their
    digits, ``n`` has 33 bits and multiplies 180 bits of log 2: r is off by less than 2^-146.6. The series is summed
    from its end. The factor of ``r^3 < 2^-61.5`` has three digits and is off by 2^-87.9, which adds 2^-149.4. The last
    product adds 2^-147.6, and the errors before it are multiplied by r. In total exp(r) is off by 2^-145.8. The tables'
    numbers are off by 2^-150, their product, less than 2, by 2^-146.9 and the whole by less than 2^-144.3.
    """
    step, (coarse, fine) = _constants()
    n = np.floor(high * _STEPS_PER_UNIT).astype(np.int64)
    r = from_float(high)
    if low is not None and low.any():
        r = tuple(x + y for x, y in zip(r, from_float(low), strict=True))
    beyond = (n * step[DIGITS]) >> DIGIT_BITS
    r = carried((*(x - n * c for x, c in zip(r[:-1], step, strict=False)), r[-1] - n * step[DIGITS - 1] - beyond))
    series: Digits = tuple(map(np.array, _TERMS[-1][:_FEW]))
    for term in reversed(_TERMS[_FEW:-1]):
        series = multiply(r[:_FEW], series, term)
    series += (np.zeros_like(n),) * (DIGITS - _FEW)
    for term in reversed(_TERMS[:_FEW]):
        series = multiply(r, series, term)
    i, j = (n >> _TABLE_BITS) & ((1 << _TABLE_BITS) - 1), n & ((1 << _TABLE_BITS) - 1)
    power = multiply(tuple(digit.take(i) for digit in coarse), tuple(digit.take(j) for digit in fine))
    return multiply(power, series), n >> _STEP_BITS


def reciprocal(a: Digits) -> Digits:
    """Return ``1 / a`` for a from 1 - 2^-40 to 2, off by less than 2^-146.

    Newton's iteration ``y += y (1 - a y)`` squares the relative error: 2^-50 of float64, 2^-100, 2^-200. The
    rounding of the last step remains: 2^-147.6 of ``a y``, and the same of its product with y.
    """
    y = carried(from_float(1 / leading(a)))
    for _ in range(2):
        y = add(y, multiply(y, negative(multiply(a, y, MINUS_ONE))))
    return y


def log(a: Digits, exponent: Int64) -> Digits:
    """Return ``log(a 2^exponent)`` for a from 1 - 2^-50 to 2 and a logarithm from 0 to 1000, off by less than 2^-143.

    Let y be the logarithm in float64, off by less than 2^-40. The result is ``y + log(1 + f)`` with ``1 + f =
    a 2^exponent exp(-y)``. The terms of its series beyond ``f^3 / 3`` are less than 2^-162. exp is off by 2^-144.4 for
    numbers from 1.
    """
    y = np.log(leading(a)) + exponent * np.log(2.0)
    y = np.maximum(y, 0.0)
    m, k = exp(-y)
    f = multiply(a, m)
    f = shift_right(f, -(exponent + k))
    f = (f[0] + MINUS_ONE[0], *f[1:])
    return add(from_float(y), multiply(f, _alternating(f, 3)))


def log1p_ratio(a: Digits) -> Digits:
    """Return ``log(1 + a) / a`` for a from 0 to 2^-15, off by less than 2^-147.

    The first omitted term of its series is less than 2^-153.
    """
    return _alternating(a, 10)


def _alternating(a: Digits, terms: int) -> Digits:
    """Return ``1 - a / 2 + a^2 / 3 - ...`` for ``|a| <= 2^-15``, off by 2^-147.5 and the omitted terms."""
    minus = negative(a)
    series: Digits = tuple(map(np.array, fraction(1, terms)))
    for divisor in range(terms - 1, 0, -1):
        series = multiply(minus, series, fraction(1, divisor))
    return series
