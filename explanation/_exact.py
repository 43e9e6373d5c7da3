"""The stages of a formula in exact numbers: Arb balls in NumPy object arrays, through the same lines of code."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from ..frameworks._stages import FORMULAS, Operations
from ..oracle import balls

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# What two float64 hold, and room for the sums' carries and for the large exponents' leading bits.
GUARD_BITS = 320
# exp(-745) is the smallest that any of the formats sees; where two such are multiplied, its square.
FARTHEST = 2500.0
NONE = "none"


@dataclass(frozen=True, eq=False)
class ExactValues:
    """Exact values ``hi + lo`` of one row, each float64 (E,).

    ``real`` (E,) tells the finite real numbers, some of which are too large for float64 and have an infinite ``hi``;
    ``known`` (E,) where there is a value at all, be it that a NaN logit makes the loss NaN. ``texts`` are the values
    in four digits.
    """

    hi: Float64
    lo: Float64
    real: NDArray[np.bool_]
    known: NDArray[np.bool_]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, hi: Float64, lo: Float64) -> ExactValues:
        """Of values that float64 can hold."""
        return cls(hi, lo, np.isfinite(hi), np.ones(hi.shape, bool), tuple(short(v) for v in hi.tolist()))

    @classmethod
    def missing(cls, size: int) -> ExactValues:
        """No value at all."""
        nothing = np.zeros(size, bool)
        return cls(np.full(size, np.nan), np.zeros(size), nothing, nothing, (NONE,) * size)


def short(value: float) -> str:
    """A number in four digits."""
    return "NaN" if math.isnan(value) else f"{value:.4g}"


def stages(formula: str, logits: Float64, target: int) -> dict[tuple[str, str], ExactValues]:
    """The exact stages of one row of logits (C,), by pass and symbol.

    Logits must be finite or ``-inf``, and at least one finite: otherwise there is no real number to compare with.
    """
    finite = logits[np.isfinite(logits)]
    # Halved, so that the spread of the largest numbers does not overflow.
    spread = 2 * min(float(finite.max() / 2 - finite.min() / 2), FARTHEST)
    # 1 - p of a certain row cancels all of p's bits down to exp(-spread); below the formats' range it may be lost.
    with balls.precision(GUARD_BITS + math.ceil(1.5 * min(float(np.abs(finite).max()) + spread, FARTHEST))):
        x = _loaded(logits[None, :])
        done = FORMULAS[formula](_OPERATIONS, x, np.array([target]))
        return {(s.direction, s.symbol): _values(np.asarray(s.value).reshape(-1)) for s in done}


def _values(entries: Array) -> ExactValues:
    pairs = np.array([balls.split(b) for b in entries], np.float64).reshape(-1, 2)
    real = np.array([bool(b.is_finite()) for b in entries])
    known = ~np.isnan(pairs[:, 0])
    texts = tuple(_text(b) if there else NONE for b, there in zip(entries, known, strict=True))
    return ExactValues(pairs[:, 0], pairs[:, 1], real, known, texts)


def _text(ball: Any) -> str:
    value = float(ball.mid())
    if not ball.is_finite() or 1e-300 < abs(value) < 1e300 or ball.contains(0):
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
    return np.vectorize(function, otypes=[object])


def _onehot(classes: Array, like: Array) -> Array:
    ones: Array = (np.arange(like.shape[1]) == classes[:, None]).astype(np.int64).astype(object)
    return ones


def _argmax(x: Array) -> Array:
    # The logits are exact, so that their midpoints in float64 are they themselves.
    largest: Array = _each(lambda b: float(b.mid()))(x).astype(np.float64).argmax(axis=1)
    return largest


def _pick(values: Array, classes: Array) -> Array:
    picked: Array = np.take_along_axis(values, classes[:, None], axis=1)[:, 0]
    return picked


def _share(slope: Array, x: Array, m: Array) -> Array:
    at_max = (x == m).astype(np.int64)
    shared: Array = slope * (at_max.astype(object) / arb(int(at_max.sum())))
    return shared


_OPERATIONS = Operations(
    exp=_each(lambda b: b.exp()),
    log=_each(lambda b: -arb("inf") if b.is_zero() else b.log()),
    log1p=_each(lambda b: b.log1p()),
    where=np.where,
    zeros_like=lambda x: np.full(x.shape, arb(0), object),
    max=lambda x: _pick(x, _argmax(x))[:, None],
    sum=lambda x: x.sum(axis=1, keepdims=True),
    sum_slopes=lambda x: x.sum(axis=1, keepdims=True),
    argmax=_argmax,
    pick=_pick,
    onehot=_onehot,
    at_least_float32=lambda x: x,
    cast=lambda x, like: x,
    log_slope=lambda d, x: d / x,
    quotient_slope=lambda d, e, s, p: -d * p / s,
    quotient_text="-dp * p / s",
    share=_share,
    add_slopes=lambda shift, at_max, target: shift + at_max - target,
    placed=lambda device: nullcontext(),
    load=lambda x, device: _loaded(x),
    dump=lambda x: x,
)
