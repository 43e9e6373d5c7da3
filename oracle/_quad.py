"""Many plain rows at once in quadruple precision, for more rows than balls can serve; certified by balls on a sample.

IEEE binary128 has 113 bits. exp and log1p are within 1 ulp (SLEEF's ``u10``; N. Shibata and F. Petrogalli, *SLEEF: A
Portable Vectorized Library of C Standard Mathematical Functions*, IEEE Trans. Parallel Distrib. Syst. 31, 2020), by
numpy-quaddtype. No two numbers that agree are subtracted, see `balls`, so that what is lost is the roundings alone: of
the exponent, up to 745 of them in what float64 can still tell from 0, ten bits; of a sum in two stages over C terms,
2 sqrt(C) of them, ten bits for 131,072. That leaves `BITS`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from numpy_quaddtype import QuadPrecDType

from . import balls
from ._answer import Exact, Reference

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Of a value, that its ``hi`` and ``lo`` hold together.
BITS = 100
_QUAD = QuadPrecDType()
# Logits that are evaluated together: few enough for the processor's cache.
_BLOCK = 2**14
_NARROW = 256


def evaluate(x: Float64, t: NDArray[np.int64]) -> tuple[Reference, Mask]:
    """The reference of rows (R, C) of finite or ``-inf`` logits, each with a finite one, and class indices (R,).

    The second array (R,) says which rows are doubtful: they have a value that cannot be told from a power of two, below
    which an ulp is half of that above.
    """
    rows, classes = x.shape
    loss, p, g = np.empty((2, rows)), np.empty((2, rows, classes)), np.empty((2, rows, classes))
    condition, doubtful = np.empty(rows), np.empty(rows, bool)
    few = max(1, _BLOCK // classes)
    with np.errstate(all="ignore"):  # quad arithmetic raises flags for infinities, where nothing is amiss
        for start in range(0, rows, few):
            at = slice(start, start + few)
            loss[:, at], p[:, at], g[:, at], condition[at], doubtful[at] = _block(x[at], t[at])
    exact = Exact(*loss), Exact(*p), Exact(*g)
    return Reference(*exact, condition, np.ones(rows, bool), np.ones(rows), np.array(1.0), t), doubtful


def _block(x: Float64, t: NDArray[np.int64]) -> tuple[Float64, Float64, Float64, Float64, Mask]:
    """Loss, probabilities and gradient as ``(hi, lo)``, condition, and which rows are doubtful."""
    rows = np.arange(len(x))
    first = x.argmax(axis=1)
    top = x[rows, first]
    e = np.exp(_difference(x, top[:, None]))
    e_target = e[rows, t]
    e[rows, first] = 0  # exp(0) is 1: what the others add to it is kept by itself, since it may be far less
    others = _sum(e)
    e[rows, first] = 1
    total = others + 1
    loss = np.log1p(others) + _difference(top, x[rows, t])
    p, rest = _split(e * (1 / total)[:, None]), others / total
    near = rest < 0.5
    p[:, rows[near], first[near]] = _complement(rest[near])
    fall, g = np.where(t == first, rest, (total - e_target) / total), p.copy()
    g[:, rows, t] = -np.where(t == first, _split(rest), _complement(e_target / total))
    losses = _split(loss)
    doubtful = _on_a_power(p)
    doubtful[rows[near], first[near]] = False
    return losses, p, g, _condition(x, fall, loss), doubtful.any(axis=1) | _on_a_power(losses)


def _complement(q: Any) -> Float64:
    """``1 - q`` for q up to a half, as a pair: 1 and what it lacks, however little that is."""
    hi = (1 - q).astype(np.float64)
    lo = (_quad(1 - hi) - q).astype(np.float64)
    # Balls do not see it either.
    return np.array([hi, np.where(q < 2.0**-balls.START_BITS, 0, lo)])


def _on_a_power(pair: Float64) -> Mask:
    """Whether a value is so near to a power of two that it is not known on which side: its ulp depends on it."""
    hi, lo = pair
    found: Mask = (np.frexp(hi)[0] == 0.5) & (lo == 0)
    return found


def _condition(x: Float64, fall: Any, loss: Any) -> Float64:
    """``max|x| * sum|g| / L``; the gradient sums to zero and is negative at the target alone."""
    finite = np.isfinite(x)
    largest = np.abs(np.where(finite, x, 0)).max(axis=1)
    # What is left of the other classes may be too small for binary128 too: then fall and loss are the same.
    ratio = np.where((loss == 0) & (finite.sum(axis=1) > 1), 1, fall / loss)
    condition: Float64 = (_quad(largest) * 2 * ratio).astype(np.float64)
    return condition


def _sum(e: Any) -> Any:
    """The sums of rows, by way of parts of rows, which halves the bits that a long sum loses."""
    rows, classes = e.shape
    if classes <= _NARROW:
        return e.sum(axis=1)
    width = int(classes**0.5)
    whole = classes - classes % width
    of_parts = e[:, :whole].reshape(rows, -1, width).sum(axis=2).sum(axis=1)
    return of_parts if whole == classes else of_parts + e[:, whole:].sum(axis=1)


def _difference(a: Float64, b: Float64) -> Any:
    """``a - b``, in float64 where that rounds none of them (D. E. Knuth's TwoSum): it is several times as fast."""
    d = a - b
    back = d - a
    lost = (a - (d - back)) - (b + back)
    exact = ((lost == 0) | np.isinf(a) | np.isinf(b)).all()  # where d overflows, lost is NaN
    return _quad(d) if exact else _quad(a) - _quad(b)


def _quad(values: Float64) -> Any:
    return values.astype(_QUAD)


def _split(values: Any) -> Float64:
    hi = values.astype(np.float64)
    subnormal = np.abs(hi) < np.finfo(np.float64).smallest_normal
    if subnormal.any():
        # The cast rounds those to 53 bits first, and then to the fewer that they have.
        hi[subnormal] = _multiples_of_the_smallest(values[subnormal])
    finite = np.isfinite(hi)
    lo = np.where(finite, (values - _quad(np.where(finite, hi, 0))).astype(np.float64), 0)
    return np.array([hi, lo])


def _multiples_of_the_smallest(values: Any) -> Float64:
    half_way = _quad(np.array(2.0**537))
    multiples: Float64 = np.rint(values * half_way * half_way).astype(np.float64)
    return np.ldexp(multiples, -1074)
