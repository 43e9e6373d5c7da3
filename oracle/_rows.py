"""Evaluate the rows of a batch by balls, with their exact target weights and special values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from flint import arb, fmpq
from numpy.typing import NDArray

from ..core.conventions import Convention, MeanDivisor, Weighting
from ..core.options import LossOptions
from . import balls
from ._answer import Exact, Reference
from .balls import DistinctLogits, ExactRow, GradientBalls
from .transform import Transform

Array = NDArray[Any]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class TargetRows:
    """The exact targets of a batch.

    Attributes:
        counted: (B,), False for an ignored row.
        weights: each row's target weights ``q_j`` by class, without zeros.
        divisor: of the reduced loss; 0 for a mean over nothing.
    """

    counted: NDArray[np.bool_]
    weights: list[dict[int, fmpq]]
    divisor: fmpq

    @classmethod
    def of(cls, t: Array, classes: int, options: LossOptions, reduction: str, convention: Convention) -> Self:
        ignored = options.ignore_index
        counted = np.ones(len(t), bool) if t.ndim == 2 or ignored is None else t != ignored
        weights = [
            _target_weights(t[r], classes, options, convention.weighting) if counted[r] else {} for r in range(len(t))
        ]
        mean = reduction == "mean"
        divisor = _divisor_of_mean(t, options.weight, counted, weights, convention.mean) if mean else fmpq(1)
        return cls(counted, weights, divisor)

    @property
    def scale(self) -> fmpq:
        """The factor of the row gradients."""
        return 1 / self.divisor if self.divisor else fmpq(1)


@dataclass(frozen=True)
class LogitRows:
    """Rows of exact logits, of C classes each.

    Attributes:
        special: (B, C), the infinite and NaN logits; any other number stands for a finite one.
        distinct: returns the distinct logits of a row.
    """

    special: Float64
    distinct: Callable[[int], DistinctLogits]

    def exact_row(
        self, r: int, targets: TargetRows, transform: Transform, bits: int = balls.START_BITS
    ) -> ExactRow | None:
        """Return a row with its special values, computed from a precision on; None for a row without limit."""
        counted = bool(targets.counted[r])
        return _row(self, r, targets.weights[r], targets.scale, transform, bits, counted=counted)


def reference_of_rows(
    logits: LogitRows,
    targets: TargetRows,
    transform: Transform,
    reduction: str,
    visit: Callable[[int, ExactRow | None], None] | None = None,
) -> Reference:
    """Return the reference of exact rows, by balls. ``visit`` is called with each row's number and result."""
    shape, divisor, weights = logits.special.shape, targets.divisor, targets.weights

    def visited(r: int) -> ExactRow | None:
        found = logits.exact_row(r, targets, transform)
        if visit is not None:
            visit(r, found)
        return None if found is None else replace(found, gradient_balls=None)  # the balls of all rows are large

    with balls.precision(4 * balls.START_BITS):
        rows = [visited(r) for r in range(shape[0])]
        # A mean over no weight divides zero by zero: it and its gradient have no value.
        # An ignored row of NaN or without limit has no softmax.
        defined = np.array([r is not None and r.defined and bool(divisor) for r in rows], bool)
        filled = [_not_a_number(shape[1]) if r is None else r for r in rows]
        if not divisor:
            filled = [replace(r, gradient=_not_a_number(shape[1]).gradient) for r in filled]
        losses = [arb("inf") if r.loss is None else r.loss for r in filled]
        if reduction == "none":
            loss = np.array([_split_loss(b) for b in losses]).reshape(-1, 2)
        else:
            loss = np.array(_split_loss(_total(losses) / arb(divisor)))
    sole_targets = [next(iter(q)) if len(q) == 1 and not transform.z_loss else -1 for q in weights]
    return Reference(
        Exact(loss[..., 0].copy(), loss[..., 1].copy()),
        _stacked([r.probabilities for r in filled], shape),
        _stacked([r.gradient for r in filled], shape),
        condition=np.array([r.condition for r in filled], np.float64),
        defined=defined,
        mass=np.array([_rounded(sum(q.values(), fmpq(0))) for q in weights], np.float64),
        scale=np.array(_rounded(targets.scale)),
        sole_target=np.array(sole_targets, np.int64),
        transform=transform,
        inner=None if transform.plain else np.array([_inner(r, shape[1]) for r in filled]).reshape(shape),
    )


def _inner(row: ExactRow, classes: int) -> Float64:
    """Return the row's ``inner``. An ignored row may be plain, since it has no z-loss; its cross-entropy is 0."""
    return np.zeros(classes) if row.inner is None else row.inner


# Target weights and the divisor of a mean are exact fractions; see `conventions`.


def _rational(value: float) -> fmpq:
    """Return a float as an exact fraction."""
    return fmpq(*float(value).as_integer_ratio())


def _target_weights(t: Any, classes: int, options: LossOptions, weighting: Weighting) -> dict[int, fmpq]:
    """Return the non-zero ``q_j = w_j ((1 - s) y_j + s / C)`` of one row, exactly; or with their mean for ``w_j``."""
    own = {int(t): 1.0} if np.ndim(t) == 0 else {int(j): float(t[j]) for j in np.flatnonzero(t)}
    s, w = _rational(options.label_smoothing), options.weight
    everywhere = range(classes) if s else own
    q = {j: (1 - s) * _rational(own.get(j, 0.0)) + s / classes for j in everywhere}
    if w is not None:
        weighted = {j: b * _rational(w[j]) for j, b in q.items()}
        of_row = sum(weighted.values(), fmpq(0))
        q = weighted if weighting is Weighting.CLASSES else {j: b * of_row for j, b in q.items()}
    return {j: b for j, b in q.items() if b}


def _divisor_of_mean(
    t: NDArray[Any], w: Float64 | None, counted: NDArray[np.bool_], weights: list[dict[int, fmpq]], mean: MeanDivisor
) -> fmpq:
    """Return the exact divisor of a mean; ``weights`` has each row's `_target_weights`."""
    rows = mean is MeanDivisor.ROWS or (mean is MeanDivisor.TARGET_WEIGHTS and t.ndim == 2)
    if rows or w is None:
        return fmpq(int(counted.sum()))
    if mean is MeanDivisor.TARGET_MASS:
        return sum((b for q in weights for b in q.values()), fmpq(0))
    return sum(map(_rational, w[t[counted]].tolist()), fmpq(0))


def _stacked(rows: Sequence[Exact], shape: tuple[int, ...]) -> Exact:
    return Exact(np.array([e.hi for e in rows]).reshape(shape), np.array([e.lo for e in rows]).reshape(shape))


def _rounded(value: fmpq) -> float:
    # Python's division of integers rounds once.
    return int(value.p) / int(value.q)


def _row(
    logits: LogitRows,
    r: int,
    weights: Mapping[int, fmpq],
    scale: fmpq,
    transform: Transform,
    bits: int,
    *,
    counted: bool,
) -> ExactRow | None:
    """Return one row with its special values; None for a row without limit."""
    z = logits.special[r]
    transform = transform if counted else replace(transform, z_loss=0.0)
    is_nan = bool(np.isnan(z).any())
    infinite = np.flatnonzero(z == np.inf)
    no_limit = infinite.size > 1 or bool(np.all(z == -np.inf))
    if is_nan or (no_limit and transform.softcap is None):
        if not counted:
            return _ignored(z.size)
        return None if no_limit and not is_nan else _not_a_number(z.size)
    if infinite.size == 0 or transform.softcap is not None:
        return balls.row(logits.distinct(r), weights, scale, transform, bits)
    return _one_hot_limit(z, int(infinite[0]), weights, scale, transform)


def _not_a_number(classes: int) -> ExactRow:
    nan = Exact(np.full(classes, np.nan), np.zeros(classes))
    return ExactRow(arb("nan"), nan, nan, np.nan, inner=nan.hi)


def _ignored(classes: int) -> ExactRow:
    """Return an ignored row without a softmax."""
    zero = np.zeros(classes)
    nan = Exact(np.full(classes, np.nan), zero)
    nothing = GradientBalls([], {}, np.full(classes, -1))
    return ExactRow(arb(0), nan, Exact(zero, zero), np.nan, defined=False, inner=zero, gradient_balls=nothing)


def _one_hot_limit(z: Float64, hot: int, weights: Mapping[int, fmpq], scale: fmpq, transform: Transform) -> ExactRow:
    """Return the limit as one logit grows without bound. It gets all the probability, and a z-loss grows with it."""
    zero = np.zeros_like(z)
    p = zero.copy()
    p[hot] = 1.0
    hi, lo, inner = zero.copy(), zero.copy(), zero.copy()
    of_targets: dict[int, Any] = {}
    q_sum = sum(weights.values(), fmpq(0))
    for j in {hot, *weights}:
        by_x = q_sum * int(j == hot) - weights.get(j, fmpq(0))
        of_targets[j] = arb(by_x * scale) * arb(transform.logit_scale)
        hi[j], lo[j] = balls.split(of_targets[j])
        inner[j] = _rounded(by_x)
    if transform.z_loss:
        hi[hot], lo[hot], of_targets[hot] = np.inf, 0.0, arb("inf")
    lost = transform.z_loss > 0 or any(j != hot for j in weights)
    loss = None if lost else arb(0)
    gradient_balls = GradientBalls([], of_targets, np.full(z.size, -1))
    condition = 0.0 if lost else np.nan
    return ExactRow(loss, Exact(p, zero), Exact(hi, lo), condition, inner=inner, gradient_balls=gradient_balls)


def _total(losses: list[Any]) -> Any:
    """Return the sum of the row losses: NaN if one is NaN, else infinite if one is."""
    if all(b.is_finite() for b in losses):
        return sum(losses, arb(0))
    return arb("nan") if any(b.is_nan() for b in losses) else arb("inf")


def _split_loss(ball: Any) -> tuple[float, float]:
    return balls.split(ball) if ball.is_finite() else (float(ball.mid()), 0.0)
