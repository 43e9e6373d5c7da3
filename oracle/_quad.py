"""Evaluate many plain rows at once in quadruple precision, for batches too large for balls; a sample is checked.

IEEE binary128 has 113 bits. exp and log1p of numpy-quaddtype are within 1 ulp: SLEEF's ``u10``, by N. Shibata and F.
Petrogalli, *SLEEF: A Portable Vectorized Library of C Standard Mathematical Functions*, IEEE Trans. Parallel Distrib.
Syst. 31, 2020. Two numbers that agree are never subtracted (see `balls`), so that only roundings lose bits. An exponent
of up to 745 loses ten bits. A sum in two stages over C terms has 2 sqrt(C) roundings, ten bits for 131,072. `BITS`
remain.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from numpy_quaddtype import QuadPrecDType

from . import balls
from ._answer import Exact, Reference

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The bits of a value in ``hi`` and ``lo`` together.
BITS = 100
_QUAD = QuadPrecDType()
# Logits evaluated together, few enough for the processor's cache.
_BLOCK = 2**14
_NARROW = 256


def evaluate(x: Float64, t: NDArray[np.int64]) -> tuple[Reference, Mask]:
    """Return the reference of rows (R, C) of finite or ``-inf`` logits, each with a finite one, and class indices (R,).

    The second array (R,) is True for doubtful rows. They have a value too close to a power of two to know its side, and
    the ulp below it is half of that above.
    """
    rows, classes = x.shape
    loss, p, g = np.empty((2, rows)), np.empty((2, rows, classes)), np.empty((2, rows, classes))
    condition, doubtful = np.empty(rows), np.empty(rows, bool)
    few = max(1, _BLOCK // classes)
    with np.errstate(all="ignore"):  # quad arithmetic raises flags for infinities, which are expected
        for start in range(0, rows, few):
            at = slice(start, start + few)
            loss[:, at], p[:, at], g[:, at], condition[at], doubtful[at] = _block(x[at], t[at])
    exact = Exact(*loss), Exact(*p), Exact(*g)
    return Reference(*exact, condition, np.ones(rows, bool), np.ones(rows), np.array(1.0), t), doubtful


def _block(x: Float64, t: NDArray[np.int64]) -> tuple[Float64, Float64, Float64, Float64, Mask]:
    """Return loss, probabilities and gradient as ``(hi, lo)``, the condition, and which rows are doubtful."""
    rows = np.arange(len(x))
    first = x.argmax(axis=1)
    top = x[rows, first]
    e = np.exp(_difference(x, top[:, None]))
    e_target = e[rows, t]
    e[rows, first] = 0  # exp(0) is 1; the sum of the others is kept separate, since it may be far less
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
    """Return ``1 - q`` for q up to a half, as a pair: 1 and the missing part, however small."""
    hi = (1 - q).astype(np.float64)
    lo = (_quad(1 - hi) - q).astype(np.float64)
    # Balls do not resolve it either.
    return np.array([hi, np.where(q < 2.0**-balls.START_BITS, 0, lo)])


def _on_a_power(pair: Float64) -> Mask:
    """Return where a value is too close to a power of two to know its side, on which its ulp depends."""
    hi, lo = pair
    found: Mask = (np.frexp(hi)[0] == 0.5) & (lo == 0)
    return found


def _condition(x: Float64, fall: Any, loss: Any) -> Float64:
    """Return ``max|x| * sum|g| / L``. The gradient sums to zero and is negative only at the target."""
    finite = np.isfinite(x)
    largest = np.abs(np.where(finite, x, 0)).max(axis=1)
    # The other classes' sum may be too small even for binary128. Then fall and loss are equal.
    ratio = np.where((loss == 0) & (finite.sum(axis=1) > 1), 1, fall / loss)
    condition: Float64 = (_quad(largest) * 2 * ratio).astype(np.float64)
    return condition


def _sum(e: Any) -> Any:
    """Return the sums of rows, added in parts, which halves the bits that a long sum loses."""
    rows, classes = e.shape
    if classes <= _NARROW:
        return e.sum(axis=1)
    width = int(classes**0.5)
    whole = classes - classes % width
    of_parts = e[:, :whole].reshape(rows, -1, width).sum(axis=2).sum(axis=1)
    return of_parts if whole == classes else of_parts + e[:, whole:].sum(axis=1)


def _difference(a: Float64, b: Float64) -> Any:
    """Return ``a - b``, in float64 if none is rounded (D. E. Knuth's TwoSum), which is several times as fast."""
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
        # The cast rounds these twice: to 53 bits, and then to the bits of a subnormal number.
        hi[subnormal] = _multiples_of_the_smallest(values[subnormal])
    finite = np.isfinite(hi)
    lo = np.where(finite, (values - _quad(np.where(finite, hi, 0))).astype(np.float64), 0)
    return np.array([hi, lo])


def _multiples_of_the_smallest(values: Any) -> Float64:
    half_way = _quad(np.array(2.0**537))
    multiples: Float64 = np.rint(values * half_way * half_way).astype(np.float64)
    return np.ldexp(multiples, -1074)
