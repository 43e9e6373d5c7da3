"""Multiply matrices of float64 without a rounding, and sum gradients times inputs with a proven error bound.

A float is a sum of digits times powers of ``2^16``: ``x = sum_l d_l 2^(16 l)``, with integers ``|d_l| < 2^16`` that
have the sign of x. A matrix is split into one matrix for each level ``l`` that occurs. The product of two such matrices
is exact in float64, up to ``2^18`` terms and in any order of its sums. Each term is below ``2^34``, also if three
digits were added before, and all together are below ``2^53``. This is the scheme of K. Ozaki, T. Ogita, S. Oishi and
S. M. Rump, *Error-free transformations of matrix multiplication by using fast routines of matrix multiplication*,
Numer. Algorithms 59, 2012, on fixed levels.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ._answer import Exact

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
Digits = dict[int, Float64]  # by level

DIGIT_BITS = 16
_LOWEST = -62  # level of a sum, from its highest: 2^-992 of float64's range
# Of a value, relative to the highest level: the terms below the lowest level are less than 2^-140 of it.
_LEAST = 2.0**-800
_TERMS = 2**18  # of an exact sum
_OUTPUTS, _INPUTS = 2**16, 2**18  # numbers of a block, few enough for the processor's cache
NO_EXPONENT = -(2**30)  # of a zero


def digits(x: Float64) -> Digits:
    """Split finite floats into digits, exactly."""
    found: Digits = {}
    rest = x
    while (largest := float(np.abs(rest).max(initial=0.0))) > 0:
        level = (math.frexp(largest)[1] - 1) // DIGIT_BITS
        found[level] = np.trunc(_times_power(rest, -DIGIT_BITS * level))
        rest = rest - _times_power(found[level], DIGIT_BITS * level)
    return found


def _times_power(x: Float64, exponent: int) -> Float64:
    """Return ``x 2^exponent``; NumPy's ldexp is ten times slower than a product."""
    scaled: Float64 = x * 2.0**exponent if abs(exponent) <= 960 else np.ldexp(x, exponent)
    return scaled


def added(*numbers: Digits) -> Digits:
    """Add up to three split matrices, level by level."""
    total: Digits = {}
    for number in numbers:
        for level, values in number.items():
            total[level] = total[level] + values if level in total else values
    return total


def products(a: Digits, b: Digits) -> Iterator[tuple[int, Float64]]:
    """Return exact integers (M, K) by level, whose sum is ``a b`` for a (M, N) and b (N, K).

    The sum of their magnitudes is at most ``|a| |b|``, since the digits of a float have one sign.
    """
    pairs: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i in a:
        for j in b:
            pairs[i + j].append((i, j))
    for level, of_level in pairs.items():
        left = np.concatenate([a[i] for i, _ in of_level], axis=1)
        right = np.concatenate([b[j] for _, j in of_level], axis=0)
        for start in range(0, left.shape[1], _TERMS):
            part = slice(start, start + _TERMS)
            yield level, left[:, part] @ right[part]


def dot_products(a: Float64, b: Float64) -> tuple[list[list[int]], int]:
    """Return the exact ``a b^T`` of finite a (M, K) and b (N, K) as integers (M, N) and the exponent of two."""
    of_a, columns = digits(a), []
    width = max(1, _INPUTS // a.shape[1])
    for start in range(0, len(b), width):
        part = b[start : start + width]
        sums: dict[int, Int64] = {}
        for level, values in products(of_a, {i: d.T for i, d in digits(part).items()}):
            whole = values.astype(np.int64)
            sums[level] = sums[level] + whole if level in sums else whole
        columns.append((sums, len(a), len(part)))
    lowest = min((min(sums) for sums, _, _ in columns if sums), default=0)
    blocks = [_integers(*column, lowest) for column in columns]
    return [[n for block in blocks for n in block[i]] for i in range(len(a))], DIGIT_BITS * lowest


def _integers(sums: dict[int, Int64], rows: int, width: int, lowest: int) -> list[list[int]]:
    """Return the integers ``sum_l sums_l 2^(16 (l - lowest))``."""
    levels = range(lowest, max(sums, default=lowest) + 5)  # a carry is below 2^48
    written = np.empty((rows, width, len(levels)), np.uint16)
    carry = np.zeros((rows, width), np.int64)
    for place, level in enumerate(levels):
        carry = carry + sums[level] if level in sums else carry
        written[:, :, place] = carry & 0xFFFF
        carry = carry >> DIGIT_BITS
    size = 2 * len(levels)
    data = written.astype("<u2").tobytes()
    numbers = [int.from_bytes(data[k : k + size], "little", signed=True) for k in range(0, len(data), size)]
    return [numbers[i * width : (i + 1) * width] for i in range(rows)]


@dataclass(frozen=True)
class Factors:
    """Matrices (M, N) of numbers that are known up to an error.

    Attributes:
        parts: (3, M, N), floats whose sum is near the number, each part small against the one before it. A number
            that no floats hold has zeros and an infinite error.
        error: (M, N), an upper bound of the distance of the sum from the number; 0 for an exact zero.
        exponent: (M, N), the number is less than two to this power; `NO_EXPONENT` for an exact zero.
    """

    parts: Float64
    error: Float64
    exponent: Int64

    @property
    def transposed(self) -> Self:
        return replace(self, parts=self.parts.transpose(0, 2, 1), error=self.error.T, exponent=self.exponent.T)


def bounded_product(a: Factors, x: Float64) -> tuple[Exact, Mask]:
    """Return ``a x`` (M, K) for finite x (N, K), and which entries are decided: within 2^-103 of their value.

    An entry is a sum of n exact numbers ``t_1 .. t_n`` (see `products`) of summed magnitude ``S <= sum |a| |x|``. They
    are added with D. E. Knuth's TwoSum. Its errors are added by TwoSum too, and the errors of that in float64. With
    ``u = 2^-53`` the errors are at most ``u S`` each, those of their sums ``n u^2 S``, and only their sums are rounded:
    the result is off by less than ``n^3 u^3 S``. The bound takes twice that, and the error of ``a`` times ``|x|``.
    An entry is decided if the bound is at most 2^-104 of the value. ``hi + lo`` rounds the sum of three floats to two:
    2^-105 of the value.

    Also decided are exact zeros (each term has a factor that is 0), and entries of a row that is less than 2^-1076,
    which round to 0.
    """
    rows, inner = a.exponent.shape
    hi, lo = np.zeros((rows, x.shape[1])), np.zeros((rows, x.shape[1]))
    decided = np.zeros(hi.shape, bool)
    if not inner:
        return Exact(hi, lo), ~decided
    of_x = np.frexp(np.abs(x).max(axis=1))[1].astype(np.int64)
    of_x[~x.any(axis=1)] = NO_EXPONENT
    tiny = (a.exponent + of_x).max(axis=1) + inner.bit_length() < -1076
    height, width = max(1, _OUTPUTS // x.shape[1]), max(1, _INPUTS // x.shape[1])
    exponent = int(of_x.max())
    whole = [(digits(x), x)] if inner <= width else None
    for start in range(0, rows, height):
        at = slice(start, start + height)
        if not tiny[at].all():
            blocks = whole or ((digits(x[k : k + width]), x[k : k + width]) for k in range(0, inner, width))
            hi[at], lo[at], decided[at] = _block(_rows_of(a, at), blocks, exponent, width, hi[at].shape)
    hi[tiny], lo[tiny], decided[tiny] = 0.0, 0.0, True
    return Exact(hi, lo), decided


def _rows_of(a: Factors, at: slice) -> Factors:
    return Factors(a.parts[:, at], a.error[at], a.exponent[at])


def _block(
    a: Factors, blocks: Iterable[tuple[Digits, Float64]], exponent: int, width: int, shape: tuple[int, ...]
) -> tuple[Float64, Float64, Mask]:
    """Return ``hi``, ``lo`` and decided entries of some rows.

    x, less than ``2^exponent``, comes in blocks of rows with their digits. Magnitudes are relative to the largest of
    ``a`` and x, so that a bound neither overflows nor becomes 0.
    """
    terms: list[tuple[int, Float64]] = []
    error, size, nonzero = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    of_a = math.frexp(float(np.abs(a.parts[0]).max()))[1]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for number, (of_x, x) in enumerate(blocks):
            part = slice(number * width, number * width + len(x))
            terms = _merged(terms, products(added(*map(digits, a.parts[:, :, part])), of_x))
            magnitude = np.ldexp(np.abs(x), -exponent)
            error += np.ldexp(a.error[:, part], -of_a) @ magnitude
            size += np.ldexp(np.abs(a.parts[0][:, part]), -of_a) @ magnitude
            counted = (a.exponent[:, part] > NO_EXPONENT).astype(np.float32), (x != 0).astype(np.float32)
            nonzero |= counted[0] @ counted[1] > 0
        bound = error * (1 + 2.0**-20) + 2.0 * max(len(terms), 2) ** 3 * 2.0**-159 * size
        top = (of_a - 1) // DIGIT_BITS + (exponent - 1) // DIGIT_BITS
        hi, lo = _total(terms, top, shape)
        value = np.abs(np.ldexp(hi, DIGIT_BITS * top - of_a - exponent))
        hi, lo = np.ldexp(hi, DIGIT_BITS * top), np.ldexp(lo, DIGIT_BITS * top)
        normal = (np.abs(hi) >= np.finfo(np.float64).smallest_normal) & np.isfinite(hi)
        decided = (bound <= 2.0**-104 * value) & (value >= _LEAST) & normal
    zero = ~nonzero
    hi[zero], lo[zero] = 0.0, 0.0
    return hi, lo, decided | zero


def _merged(terms: list[tuple[int, Float64]], others: Iterable[tuple[int, Float64]]) -> list[tuple[int, Float64]]:
    """Add terms of two blocks. Beyond one block, a sum of integers is split in two, which float64 holds exactly."""
    if not terms:
        return list(others)
    sums: dict[int, Int64] = {}
    for level, values in (*terms, *others):
        whole = values.astype(np.int64)
        sums[level] = sums[level] + whole if level in sums else whole
    halves = []
    for level, whole in sums.items():
        above = np.sign(whole) * (np.abs(whole) >> DIGIT_BITS)
        halves += [(level + 1, above.astype(np.float64)), (level, (whole - (above << DIGIT_BITS)).astype(np.float64))]
    return halves


def _total(terms: list[tuple[int, Float64]], top: int, shape: tuple[int, ...]) -> tuple[Float64, Float64]:
    """Return the sum as ``hi`` and ``lo``, times ``2^(-16 top)``."""
    total, errors, rest = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for level, values in sorted(terms, key=lambda term: -term[0]):
        if level - top >= _LOWEST:
            total, error = _two_sum(total, values * 2.0 ** (DIGIT_BITS * (level - top)))
            errors, error = _two_sum(errors, error)
            rest += error
    above, below = _two_sum(total, errors)
    return _two_sum(above, below + rest)


def _two_sum(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)
