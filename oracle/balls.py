"""Evaluate one row of softmax cross-entropy in ball arithmetic.

Every number is an Arb ball, a midpoint and a radius that provably contain the true value
(F. Johansson, *Arb: efficient arbitrary-precision midpoint-radius interval arithmetic*, IEEE Trans.
Computers 66, 2017). The precision rises until each result's ball is far smaller, relative to its
value, than the 106 bits that two float64 can hold.

With ``m = max x``, ``e_j = exp(x_j - m)``, ``T = sum e_j`` and target weights ``q_j`` of sum ``Q``::

    loss       = sum_j q_j (log T + m - x_j)
    p_j        = e_j / T
    gradient_j = Q p_j - q_j = (e_j (Q - q_j) - q_j (T - e_j)) / T

The last form never subtracts two numbers that agree. At the target of a one-hot row it is
``-(sum of the others) / T``, so that a gradient of -exp(-700) keeps all its digits.

If the loss is of ``x`` and the logits are ``z`` (see `transform`), the gradient is multiplied by ``dx_j / dz_j``. A
z-loss adds ``c y^2`` to the loss and ``2 c y p_j`` to its derivative by ``x_j``, with ``y = log T + m``.
"""

import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import flint
import numpy as np
from flint import arb, fmpq
from numpy.typing import NDArray

from ._answer import Exact
from .transform import PLAIN, Transform

Float64 = NDArray[np.float64]

START_BITS = 160  # enough for every ordinary row: 106 bits kept, 17 for 131,072 terms, 10 for exp's argument
NEEDED_BITS = 110
NARROW = 64  # classes, up to which Python counts a row faster than NumPy

_one_thread = threading.RLock()


@dataclass(frozen=True)
class DistinctLogits:
    """The distinct logits of a row of C classes, as exact numbers ``values[i] 2^exponent``.

    Equal logits have equal exponentials. A low-precision or tied row of 131,072 classes has few different ones.

    Attributes:
        values: floats, integers of any size, or infinities, in rising order.
        counts: the number of classes that have each.
        where: (C,), each class's index in ``values``, -1 for a masked class.
        exponent: the power of two that multiplies them.
    """

    values: Sequence[float]
    counts: Sequence[int]
    where: NDArray[np.intp]
    exponent: int = 0

    def balls(self) -> list[Any]:
        """Return the values as balls, which are exact if they have no more bits than the precision."""
        if not self.exponent:
            return [arb(v) for v in self.values]
        unit = arb(2) ** self.exponent
        return [arb(v) if v in (math.inf, -math.inf) else arb(v) * unit for v in self.values]


@dataclass(frozen=True)
class GradientBalls:
    """A row's gradient as balls: one for each distinct logit, and those of targets.

    Attributes:
        values: the entry of a class with each distinct logit, unless it is a target.
        at_targets: the entries of targets, by class.
        where: (C,), each class's index in ``values``, -1 for an exact zero.
    """

    values: list[Any]
    at_targets: Mapping[int, Any]
    where: NDArray[np.intp]

    def __getitem__(self, j: int) -> Any:
        found = self.at_targets.get(j)
        if found is not None:
            return found
        return self.values[self.where[j]] if self.where[j] >= 0 else arb(0)


@dataclass(frozen=True)
class ExactRow:
    """The exact results of one row of finite or ``-inf`` logits: probabilities and gradient have shape (C,).

    ``inner`` (C,) is the cross-entropy's derivative by ``x`` in float64, without scale and z-loss. It is None if the
    loss is of the logits themselves. ``gradient_balls`` has the balls of the gradient, None for a row of NaN.
    """

    loss: Any  # an Arb ball, so that a reduction over rows stays a proof; None for an infinite loss
    probabilities: Exact
    gradient: Exact
    condition: float
    defined: bool = True
    inner: Float64 | None = None
    gradient_balls: GradientBalls | None = None


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Set python-flint's precision for the block. It belongs to the process, so that other threads wait."""
    with _one_thread:
        before = flint.ctx.prec
        flint.ctx.prec = bits
        try:
            yield
        finally:
            flint.ctx.prec = before


def sharp(ball: Any) -> bool:
    """Return whether the ball is small relative to its value, or rounds to zero in float64."""
    return bool(ball.rel_accuracy_bits() >= NEEDED_BITS or float(ball.abs_upper()) == 0.0)


def split(ball: Any) -> tuple[float, float]:
    """Return the ball's midpoint as ``hi + lo``; beyond float64's range ``hi`` is infinite and ``lo`` 0."""
    hi = float(ball)
    return (hi, 0.0) if hi in (math.inf, -math.inf) else (hi, float(ball - hi))


def _spread(balls: list[Any], where: NDArray[np.intp]) -> Exact:
    """Return the values of the distinct logits for all classes; masked classes get an exact zero."""
    halves = np.array([*map(split, balls), (0.0, 0.0)], np.float64)
    return Exact(halves[:, 0], halves[:, 1])[where]


class _BlurredError(Exception):
    """A ball is too wide at the current precision."""


def row(
    logits: DistinctLogits,
    weights: Mapping[int, fmpq],
    scale: fmpq,
    transform: Transform = PLAIN,
    bits: int = START_BITS,
) -> ExactRow:
    """Return the exact row for logits that are finite or masked, at least one finite. A cap allows infinite ones too.

    ``weights`` maps class indices to target weights ``q_j``, without zero weights. The gradient is multiplied by
    ``scale`` (the ``1 / N`` of a mean). Both are exact rationals: with a ball of a fixed precision a gradient entry of
    exactly zero would never be sharp. ``bits`` is the first precision that is tried.
    """
    while True:
        try:
            with precision(bits):
                return _evaluate(logits, weights, scale, transform)
        except _BlurredError:
            bits *= 2


def _evaluate(logits: DistinctLogits, weights: Mapping[int, fmpq], scale: fmpq, transform: Transform) -> ExactRow:
    values, counts, where = logits.balls(), logits.counts, logits.where
    x = [transform.ball(v) for v in values] if transform.moves_logits else values
    top = x[-1]
    below = [*(top - b for b in x[:-1]), arb(0)]  # of balls that are not exact, top - top would not be 0
    exps = [(-b).exp() for b in below]
    others = sum((e * c for e, c in zip(exps[:-1], counts, strict=False)), arb(counts[-1] - 1))
    total = others + 1
    log_total = others.log1p()

    q_sum = sum(weights.values(), fmpq(0))
    inverse = 1 / total
    p = [e * inverse for e in exps]
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
            loss += arb(q) * (log_total + below[where[j]])
    largest = max(abs(x[0]), abs(top), key=float)
    if transform.plain:
        factor = q_sum * scale
        g = p if factor == 1 else [b * arb(factor) for b in p]
        scaled_targets = {j: b * arb(scale) for j, b in at_targets.items()}
        # The gradient sums to zero and is negative only at targets.
        falls = sum((-b for b in at_targets.values() if b < 0), arb(0))
        return _sharp_row(p, g, scaled_targets, where, loss, _condition(largest, 2 * falls, loss))

    y = log_total + top
    loss = None if loss is None else loss + arb(transform.z_loss) * y * y
    pull = 2 * arb(transform.z_loss) * y
    of_x = [b * (arb(q_sum) + pull) for b in p]
    of_targets = {j: b if where[j] < 0 else b + pull * p[where[j]] for j, b in at_targets.items()}
    slopes = [arb(scale) * transform.slope_ball(v) for v in (*values, arb("-inf"))]  # the last is for masked classes
    sharp_row = _sharp_row(
        p,
        [b * slope for b, slope in zip(of_x, slopes, strict=False)],
        {j: b * slopes[where[j]] for j, b in of_targets.items()},
        where,
        loss,
        _condition(largest, _size(of_x, counts, of_targets, where), loss),
    )
    inner = _spread([b * arb(q_sum) for b in p], where).hi
    inner[list(at_targets)] = [*map(float, at_targets.values())]
    return replace(sharp_row, inner=inner)


def _sharp_row(
    p: list[Any], g: list[Any], at_targets: Mapping[int, Any], where: NDArray[np.intp], loss: Any, condition: float
) -> ExactRow:
    """Build the row from the distinct logits' probabilities and gradients, and the gradients at targets.

    Raises:
        _BlurredError: if one of them, or the loss, is not sharp.
    """
    of_g = [] if g is p else g
    if not all(map(sharp, [*p, *of_g, *at_targets.values(), *([] if loss is None else [loss])])):
        raise _BlurredError
    probabilities = _spread(p, where)
    gradient = Exact(probabilities.hi.copy(), probabilities.lo.copy()) if g is p else _spread(g, where)
    for j, ball in at_targets.items():
        gradient.hi[j], gradient.lo[j] = split(ball)
    return ExactRow(loss, probabilities, gradient, condition, gradient_balls=GradientBalls(g, at_targets, where))


def distinct_logits(logits: Float64 | Sequence[float], *, exponent: int = 0, infinite: bool = False) -> DistinctLogits:
    """Return the distinct finite ones of the logits (C,) times ``2^exponent``; a sequence may have large integers.

    With ``infinite`` infinite logits are included.
    """
    if isinstance(logits, np.ndarray) and logits.size > NARROW:
        kept = np.isfinite(logits) | infinite
        values, place, counts = np.unique(logits[kept], return_inverse=True, return_counts=True)
        where = np.full(logits.shape, -1)
        where[kept] = place
        return DistinctLogits(values.tolist(), counts.tolist(), where, exponent)
    listed = logits.tolist() if isinstance(logits, np.ndarray) else logits
    times = Counter(listed)
    if not infinite:
        times.pop(-math.inf, None)
    rising = sorted(times)
    places = {v: i for i, v in enumerate(rising)}
    where = np.array([places.get(v, -1) for v in listed], np.intp)
    return DistinctLogits(rising, [times[v] for v in rising], where, exponent)


def _size(g: list[Any], counts: Sequence[int], at_targets: Mapping[int, Any], where: NDArray[np.intp]) -> Any:
    """Return ``sum|g|`` over all classes; ``g`` has the entries of the distinct logits without the targets."""
    others = Counter(dict(enumerate(counts)))
    others.subtract(int(where[j]) for j in at_targets)
    others.pop(-1, None)
    return sum((abs(g[i]) * n for i, n in others.items()), arb(0)) + sum(map(abs, at_targets.values()), arb(0))


def _condition(largest: Any, size: Any, loss: Any) -> float:
    """Return ``max|x| * sum|g| / L``."""
    if loss is None:
        return 0.0
    if float(loss.abs_upper()) == 0.0 and loss.is_zero():
        return float("nan")
    return float(largest * size / loss)
