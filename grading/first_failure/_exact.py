"""Evaluate the stages of a formula in exact numbers: the same code runs on Arb balls in NumPy object arrays."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from flint import arb
from numpy.typing import NDArray

from ...frameworks.stages import TRACED, Operations
from ...oracle import balls

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# The bits of two float64, and room for carries of sums and for the leading bits of large exponents.
GUARD_BITS = 320
# exp(-745) is the smallest number of any of the formats. A product of two is its square.
FARTHEST = 2500.0
# Bytes of the cached rows, estimated as if all their balls existed. A quarter of it is usual. The catalogue's rows in
# four dtypes fit, since one framework may be hours behind another.
MAX_KEPT = 2**29
NONE = "none"


@dataclass(frozen=True, eq=False)
class ExactValues:
    """Exact values ``hi + lo`` of one row, each float64 (E,).

    ``real`` (E,) is True for finite real numbers. Some are too large for float64 and have an infinite ``hi``.
    ``known`` (E,) is True where there is a value; this includes the NaN that a NaN logit causes. ``text_of`` formats
    the value of an entry.
    """

    hi: Float64
    lo: Float64
    real: NDArray[np.bool_]
    known: NDArray[np.bool_]
    text_of: Callable[[int], str]

    @classmethod
    def of(cls, hi: Float64, lo: Float64) -> Self:
        """Wrap values that float64 can hold."""
        return cls(hi, lo, np.isfinite(hi), np.ones(hi.shape, bool), lambda j: short(float(hi[j])))

    @classmethod
    def missing(cls, size: int) -> Self:
        nothing = np.zeros(size, bool)
        return cls(np.full(size, np.nan), np.zeros(size), nothing, nothing, lambda j: NONE)

    def text(self, j: int) -> str:
        """Return the value of one entry in four digits."""
        return self.text_of(j) if self.known[j] else NONE


def short(value: float) -> str:
    """Format a number in four digits."""
    return "NaN" if math.isnan(value) else f"{value:.4g}"


class Stages:
    """The exact stages of one row of logits (C,), by pass and symbol, each computed at its first use.

    Logits must be finite or ``-inf``, and at least one finite: otherwise there is no real number to compare with.
    """

    def __init__(self, formula: str, logits: Float64, target: int) -> None:
        entries = Entries.of(logits, target)
        finite = logits[np.isfinite(logits)]
        # Halved, so that the spread of the largest numbers does not overflow.
        spread = 2 * min(float(finite.max() / 2 - finite.min() / 2), FARTHEST)
        # 1 - p of a certain row cancels p's bits down to exp(-spread). Bits below the formats' range may be lost.
        self._bits = GUARD_BITS + math.ceil(1.5 * min(float(np.abs(finite).max()) + spread, FARTHEST))
        self._places = entries.places
        # In bytes: two stages of balls, one for each distinct logit, and some float64 for each class.
        self.weight = 2**13 + 2 * entries.logits.size * (self._bits // 8 + 100) + 64 * logits.size
        self._coming = TRACED[formula](_operations(entries.counts), _loaded(entries.logits[None, :]), entries.target)
        self._balls: dict[tuple[str, str], Array] = {}
        self._values: dict[tuple[str, str], ExactValues] = {}

    def __getitem__(self, key: tuple[str, str]) -> ExactValues:
        if key not in self._values:
            with balls.precision(self._bits):
                self._values[key] = _values(self._reached(key), self._places)
        return self._values[key]

    def _reached(self, key: tuple[str, str]) -> Array:
        while key not in self._balls:
            stage = next(self._coming, None)
            if stage is None:
                raise KeyError(key)
            self._balls[stage.direction, stage.symbol] = np.asarray(stage.value).reshape(-1)
        return self._balls.pop(key)


class _Recent:
    """Cache the latest rows: one framework after the other needs the same rows."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, bytes, int], Stages] = OrderedDict()
        self._weight = 0

    def stages(self, formula: str, logits: Float64, target: int) -> Stages:
        key = (formula, logits.tobytes(), target)
        if key not in self._rows:
            self._rows[key] = Stages(formula, logits, target)
            self._weight += self._rows[key].weight
        self._rows.move_to_end(key)
        found = self._rows[key]
        while self._weight > MAX_KEPT:
            _, dropped = self._rows.popitem(last=False)
            self._weight -= dropped.weight
        return found


stages = _Recent().stages


@dataclass(frozen=True, eq=False)
class Entries:
    """A row's distinct logits: equal logits have equal stages and are counted in sums.

    The maximum and the target have their own entries, the maximum first, because the formulas treat them separately.

    Attributes:
        logits, counts: (D,), the distinct logits and the number of classes that have them.
        target: (1,), the target's index among them.
        places: (C,), each class's index among them.
    """

    logits: Float64
    counts: NDArray[np.int64]
    target: NDArray[np.int64]
    places: NDArray[np.intp]

    @classmethod
    def of(cls, logits: Float64, target: int) -> Self:
        """Collect the distinct entries of a row of logits (C,) and its target."""
        apart = list(dict.fromkeys([int(logits.argmax()), target]))
        rest = np.delete(np.arange(logits.size), apart)
        values, places, counts = np.unique(logits[rest], return_inverse=True, return_counts=True)
        where = np.empty(logits.size, np.intp)
        where[apart] = np.arange(len(apart))
        where[rest] = places + len(apart)
        ones = np.ones(len(apart), np.int64)
        return cls(
            np.concatenate([logits[apart], values]), np.concatenate([ones, counts]), where[target : target + 1], where
        )


def _values(entries: Array, places: NDArray[np.intp]) -> ExactValues:
    at = places if entries.size > 1 else np.zeros(1, np.intp)
    # A ball that contains 0 cancelled completely. Its midpoint is noise, and the value is 0.
    zero = np.array([b.is_finite() and b.contains(0) for b in entries], bool)
    pairs = np.array([balls.split(b) for b in entries], np.float64).reshape(-1, 2)
    pairs[zero] = 0.0
    real = np.array([b.is_finite() for b in entries], bool)
    hi, lo = pairs[at].T
    return ExactValues(hi, lo, real[at], ~np.isnan(hi), lambda j: _text(entries[at[j]]))


def _text(ball: Any) -> str:
    value = float(ball.mid())
    if ball.is_finite() and ball.contains(0):
        return "0"
    if not ball.is_finite() or 1e-300 < abs(value) < 1e300:
        return short(value)
    digits, exponent = ball.str(4, radius=False).split("e")
    if len(exponent) > 8:
        # A number of a million digits: even its exponent is shortened.
        return f"{'-' if value < 0 else ''}10^{float(exponent):.3g}"
    return f"{digits}e{int(exponent):+d}"


def _loaded(values: Array) -> Array:
    # -arb("inf") and not arb("-inf"), which python-flint reads as the whole real line.
    return _each(lambda v: -arb("inf") if v == -np.inf else arb(float(v)))(values)


def _each(function: Callable[[Any], Any]) -> Callable[[Array], Array]:
    each: Callable[[Array], Array] = np.frompyfunc(function, 1, 1)
    return each


def _onehot(classes: Array, like: Array) -> Array:
    ones: Array = (np.arange(like.shape[1]) == classes[:, None]).astype(np.int64).astype(object)
    return ones


def _argmax(x: Array) -> Array:
    # The logits are exact: each equals its midpoint in float64.
    largest: Array = _each(lambda b: float(b.mid()))(x).astype(np.float64).argmax(axis=1)
    return largest


def _pick(values: Array, classes: Array) -> Array:
    picked: Array = np.take_along_axis(values, classes[:, None], axis=1)[:, 0]
    return picked


def _operations(counts: NDArray[np.int64]) -> Operations:
    """Return the operations on rows (1, D) whose entries are repeated ``counts`` (D,) times."""
    repeated = np.flatnonzero(counts > 1)
    times = counts[repeated].astype(object)

    def total(x: Array) -> Array:
        terms = x.copy()
        terms[:, repeated] *= times
        found: Array = terms.sum(axis=1, keepdims=True)
        return found

    def share(slope: Array, x: Array, m: Array) -> Array:
        at_max = (x == m).astype(np.int64)
        shared: Array = slope * (at_max.astype(object) / arb(int((at_max * counts).sum())))
        return shared

    return Operations(
        exp=_each(lambda b: b.exp()),
        log=_each(lambda b: -arb("inf") if b.is_zero() else b.log()),
        log1p=_each(lambda b: b.log1p()),
        where=np.where,
        zeros_like=lambda x: np.full(x.shape, arb(0), object),
        max=lambda x: _pick(x, _argmax(x))[:, None],
        sum=total,
        sum_slopes=total,
        argmax=_argmax,
        pick=_pick,
        onehot=_onehot,
        at_least_float32=lambda x: x,
        cast=lambda x, like: x,
        log_slope=lambda d, x: d / x,
        quotient_slope=lambda d, e, s, p: -d * p / s,
        quotient_text="-dp * p / s",
        share=share,
        add_slopes=lambda shift, at_max, target: shift + at_max - target,
    )
