"""One row of softmax cross-entropy in ball arithmetic.

Every number is an Arb ball, a midpoint and a radius that provably contain the true value
(F. Johansson, *Arb: efficient arbitrary-precision midpoint-radius interval arithmetic*, IEEE Trans.
Computers 66, 2017). The row is evaluated at rising precision until each ball that is asked for is
far smaller, relative to its own value, than the 106 bits that two float64 can hold.

With ``m = max x``, ``e_j = exp(x_j - m)``, ``T = sum e_j`` and target weights ``q_j`` of sum ``Q``::

    loss       = sum_j q_j (log T + m - x_j)
    p_j        = e_j / T
    gradient_j = Q p_j - q_j = (e_j (Q - q_j) - q_j (T - e_j)) / T

The last form never subtracts two numbers that agree: at the target of a one-hot row it is
``-(sum of the others) / T``, so that a gradient of -exp(-700) keeps all its digits.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np
from flint import arb, fmpq
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Pair = tuple[Float64, Float64]

START_BITS = 160  # enough for every ordinary row: 106 bits kept, 17 for 131,072 terms, 10 for exp's argument
NEEDED_BITS = 110
NARROW = 64  # classes, up to which Python counts a row faster than NumPy

_one_thread = threading.RLock()


@dataclass(frozen=True)
class Row:
    """What one row of finite or ``-inf`` logits gives: the pairs are ``(hi, lo)`` of shape (C,)."""

    loss: Any  # an Arb ball, so that a reduction over rows stays a proof; None for an infinite loss
    probabilities: Pair
    gradient: Pair
    condition: float
    defined: bool = True


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Sets python-flint's working precision for the block, in which no other thread enters one: it is the process's."""
    with _one_thread:
        before = flint.ctx.prec
        flint.ctx.prec = bits
        try:
            yield
        finally:
            flint.ctx.prec = before


def sharp(ball: Any) -> bool:
    """Whether the ball is small relative to its value, or rounds to zero in float64 altogether."""
    return bool(ball.rel_accuracy_bits() >= NEEDED_BITS or float(ball.abs_upper()) == 0.0)


def split(ball: Any) -> tuple[float, float]:
    """The ball's midpoint as ``hi + lo``; beyond float64's range ``hi`` is infinite and ``lo`` 0."""
    hi = float(ball)
    return (hi, 0.0) if hi in (math.inf, -math.inf) else (hi, float(ball - hi))


def _pair(balls: list[Any]) -> Pair:
    """The balls' halves, and a zero behind them."""
    halves = np.array([*map(split, balls), (0.0, 0.0)], np.float64)
    return halves[:, 0], halves[:, 1]


class _BlurredError(Exception):
    """A ball is still too wide at the present precision."""


def row(logits: Float64, weights: Mapping[int, fmpq], scale: fmpq) -> Row:
    """The exact row, for logits (C,) that are finite or ``-inf`` with at least one finite.

    ``weights`` maps class index to target weight ``q_j``, zero weights left out; the gradient is multiplied by
    ``scale`` (the ``1 / N`` of a mean). Both are exact rationals: a ball of a fixed precision would keep a
    gradient entry that is exactly zero from ever being sharp.
    """
    bits = START_BITS
    while True:
        try:
            with precision(bits):
                return _evaluate(logits, weights, scale)
        except _BlurredError:
            bits *= 2


def _evaluate(logits: Float64, weights: Mapping[int, fmpq], scale: fmpq) -> Row:
    # Equal logits have equal exponentials: a low-precision or tied row of 131,072 classes has few of them.
    values, counts, where = _distinct(logits)
    top = arb(values[-1])
    exps = [(arb(v) - top).exp() for v in values]
    others = sum((e * c for e, c in zip(exps[:-1], counts, strict=False)), arb(counts[-1] - 1))
    total = others + 1
    log_total = others.log1p()

    q_sum = sum(weights.values(), fmpq(0))
    inverse = 1 / total
    p = [e * inverse for e in exps]
    factor = q_sum * scale
    g = [] if factor == 1 else [b * arb(factor) for b in p]
    at_targets = {}
    loss: Any = arb(0)
    for j, q in weights.items():
        masked = where[j] < 0
        e_j = arb(0) if masked else exps[where[j]]
        rest = others if where[j] == len(exps) - 1 else total - e_j
        at_targets[j] = -arb(q) if masked else (e_j * arb(q_sum - q) - arb(q) * rest) * inverse
        if masked:
            loss = None
        elif loss is not None:
            loss += arb(q) * (log_total + (top - arb(float(logits[j]))))
    scaled_targets = {j: b * arb(scale) for j, b in at_targets.items()}
    if not all(map(sharp, [*p, *g, *scaled_targets.values(), *([] if loss is None else [loss])])):
        raise _BlurredError

    of_p = _pair(p)
    probabilities, gradient = _spread(of_p, where), _spread(_pair(g) if g else of_p, where)
    for j, ball in scaled_targets.items():
        gradient[0][j], gradient[1][j] = split(ball)
    return Row(loss, probabilities, gradient, _condition(values, at_targets.values(), loss))


def _distinct(logits: Float64) -> tuple[list[float], list[int], NDArray[np.intp]]:
    """The finite logits in rising order, each once, how often each is there, and the place of each class among them,
    -1 for a masked one.
    """
    if logits.size > NARROW:
        finite = np.isfinite(logits)
        values, place, counts = np.unique(logits[finite], return_inverse=True, return_counts=True)
        where = np.full(logits.shape, -1)
        where[finite] = place
        return values.tolist(), counts.tolist(), where
    times = Counter(logits.tolist())
    times.pop(-math.inf, None)
    listed = sorted(times)
    places = {v: i for i, v in enumerate(listed)}
    return listed, [times[v] for v in listed], np.array([places.get(v, -1) for v in logits.tolist()], np.intp)


def _spread(pair: Pair, where: NDArray[np.intp]) -> Pair:
    """Values of the distinct logits put back in their places; masked classes get the exact zero behind them."""
    hi, lo = pair
    return hi[where], lo[where]


def _condition(finite_logits: list[float], at_targets: Any, loss: Any) -> float:
    """``max|x| * sum|g| / L``; the gradient sums to zero and is negative at targets alone."""
    if loss is None:
        return 0.0
    if float(loss.abs_upper()) == 0.0 and loss.is_zero():
        return float("nan")
    falls = sum((-g for g in at_targets if g < 0), arb(0))
    return float(arb(max(-finite_logits[0], finite_logits[-1])) * 2 * falls / loss)
