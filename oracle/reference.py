"""``reference``: the exact softmax cross-entropy of a batch, including special values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flint import arb, fmpq
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import as_integer
from ..core.conventions import STANDARD, Convention, MeanDivisor, Weighting
from ..core.errors import UsageError
from ..core.options import REDUCTIONS, LossOptions, check_option
from . import _vectorized, balls, cache
from ._answer import Exact, Reference, merge_rows, take_rows
from ._inputs import checked_targets, class_weights, float_logits
from .balls import ExactRow
from .transform import Transform

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# Below this many logits, balls are quicker than opening a file.
CACHED_FROM = 4096
# Below this many logits, balls are quicker than NumPy's calls for each operation of `_vectorized`.
VECTORIZED_FROM = 512


def reference(
    logits: object,
    targets: object,
    *,
    label_smoothing: float = 0.0,
    weight: object = None,
    ignore_index: int | None = None,
    reduction: str = "none",
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
    keep: bool = True,
    convention: Convention = STANDARD,
) -> Reference:
    """Return the exact softmax cross-entropy of logits taken as exact numbers.

    With ``z`` the logits, the loss is that of ``x``: first ``x = logit_scale * z``, then
    ``x = softcap * tanh(x / softcap)``. ``z_loss * logsumexp(x)^2`` is added to the loss of each row that is not
    ignored.

    Arrays may be of any framework, on any device, and PyTorch's may require a gradient.

    Args:
        logits: (B, C), float16, bfloat16, float32 or float64 (lists and integers are read as float64).
        targets: class indices (B,) of an integer dtype, or class probabilities (B, C) of a float dtype.
        label_smoothing: in [0, 1]; the target becomes ``(1 - s) target + s / C``.
        weight: (C,), a non-negative factor for each class.
        ignore_index: rows with this class index are ignored: their loss and gradient are 0, whatever their logits
            (integer targets only). An ignored row of NaN or without limit has no softmax and is not ``defined``.
        reduction: ``none``, ``sum`` or ``mean``. As in PyTorch, ``mean`` divides by the summed weights of the rows
            that are not ignored for class indices, and by B for probabilities.
        softcap: the bound of the capped logits, positive. It applies to infinite logits too: a class masked with
            ``-inf`` has ``x = -softcap``, and a share of the probability.
        logit_scale: one over a temperature, positive.
        z_loss: the factor of the squared logsumexp, as in PaLM (A. Chowdhery et al., *PaLM: Scaling language modeling
            with pathways*, JMLR 24, 2023, section 5). Class weights and label smoothing do not change the term, as in
            Liger-Kernel's ``lse_square_scale``. An ignored row has none. It is part of the row's loss for a reduction:
            a weighted ``mean`` divides it by the summed weights too, where Liger-Kernel divides it by the number of
            rows.
        keep: whether a large reference is cached on disk.
        convention: the definition of class weights and of their mean, if it is not the one above.

    Returns:
        A `Reference`. A NaN logit makes its row NaN. A ``-inf`` logit has probability 0; on the target it gives the
        loss ``+inf`` and the finite gradient ``softmax - onehot``. One ``+inf`` is the limit one-hot. A row of only
        ``-inf``, or with two or more ``+inf``, has no limit, and a mean over ignored rows has no value. Loss and
        gradient are NaN there, and ``defined`` is False. Under a cap every row without NaN has a value.

    Raises:
        UsageError: for a wrong shape or dtype, or a target, weight or option out of range.
    """
    x = float_logits(logits)
    ignore_index = None if ignore_index is None else as_integer(ignore_index, "ignore_index", -math.inf)
    t = checked_targets(targets, x.shape, ignore_index)
    options = LossOptions(
        label_smoothing=label_smoothing,
        weight=class_weights(weight, x.shape[1]),
        ignore_index=ignore_index,
        softcap=softcap,
        logit_scale=logit_scale,
        z_loss=z_loss,
    )
    for name, value in options.set_options.items():
        check_option(name, value)
    if reduction not in REDUCTIONS:
        raise UsageError(f"unknown reduction {reduction!r}; choose one of {', '.join(REDUCTIONS)}")
    if x.size < CACHED_FROM or not keep:
        return _compute(x, t, options, reduction, convention)
    smoothing = float(label_smoothing)
    inputs: dict[str, ArrayLike] = {"logits": x, "targets": t, "smoothing": smoothing, "reduction": reduction}
    inputs |= {"mean": convention.mean.name, "weighting": convention.weighting.name} if convention.differs else {}
    name = cache.key(inputs | {o: np.asarray(v) for o, v in options.set_options.items() if o != "label_smoothing"})
    found = cache.load(name, Transform.of(options))
    if found is None:
        found = _compute(x, t, options, reduction, convention)
        cache.save(name, found)
    return found


def _compute(x: Float64, t: Array, options: LossOptions, reduction: str, convention: Convention) -> Reference:
    if t.ndim == 2 or options.set_options or reduction != "none" or x.size < VECTORIZED_FROM:
        return _by_balls(x, t, options, reduction, convention)
    found, decided = _vectorized.evaluate(x, t)
    if decided.all():
        return found
    others = _by_balls(x[~decided], t[~decided], options, reduction, convention)
    return merge_rows(decided, take_rows(found, decided), others)


def _by_balls(x: Float64, t: Array, options: LossOptions, reduction: str, convention: Convention) -> Reference:
    transform, ignored = Transform.of(options), options.ignore_index
    counted = np.ones(len(x), bool) if t.ndim == 2 or ignored is None else t != ignored
    weights = [
        _target_weights(t[r], x.shape[1], options, convention.weighting) if counted[r] else {} for r in range(len(x))
    ]
    divisor = _divisor_of_mean(t, options.weight, counted, weights, convention.mean) if reduction == "mean" else fmpq(1)
    scale = 1 / divisor if divisor else fmpq(1)
    with balls.precision(4 * balls.START_BITS):
        rows = [_row(x[r], weights[r], scale, transform, counted=bool(counted[r])) for r in range(len(x))]
        # A mean over no weight divides zero by zero: it and its gradient have no value.
        # An ignored row of NaN or without limit has no softmax.
        defined = np.array([r is not None and r.defined and bool(divisor) for r in rows], bool)
        filled = [_not_a_number(x.shape[1]) if r is None else r for r in rows]
        if not divisor:
            filled = [replace(r, gradient=_not_a_number(x.shape[1]).gradient) for r in filled]
        losses = [arb("inf") if r.loss is None else r.loss for r in filled]
        if reduction == "none":
            loss = np.array([_split_loss(b) for b in losses]).reshape(-1, 2)
        else:
            loss = np.array(_split_loss(_total(losses) / arb(divisor)))
    sole_targets = [next(iter(q)) if len(q) == 1 and not transform.z_loss else -1 for q in weights]
    return Reference(
        Exact(loss[..., 0].copy(), loss[..., 1].copy()),
        _stacked([r.probabilities for r in filled], x.shape),
        _stacked([r.gradient for r in filled], x.shape),
        condition=np.array([r.condition for r in filled], np.float64),
        defined=defined,
        mass=np.array([_rounded(sum(q.values(), fmpq(0))) for q in weights], np.float64),
        scale=np.array(_rounded(scale)),
        sole_target=np.array(sole_targets, np.int64),
        transform=transform,
        inner=None if transform.plain else np.array([_inner(r, x.shape[1]) for r in filled]).reshape(x.shape),
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
    z: Float64, weights: Mapping[int, fmpq], scale: fmpq, transform: Transform, *, counted: bool
) -> ExactRow | None:
    """Return one row with its special values; None for a row without limit."""
    transform = transform if counted else replace(transform, z_loss=0.0)
    is_nan = bool(np.isnan(z).any())
    infinite = np.flatnonzero(z == np.inf)
    no_limit = infinite.size > 1 or bool(np.all(z == -np.inf))
    if transform.softcap is not None and not is_nan:
        return balls.row(z, weights, scale, transform)
    if is_nan or no_limit:
        if not counted:
            return _ignored(z.size)
        return None if no_limit and not is_nan else _not_a_number(z.size)
    if infinite.size == 0:
        return balls.row(z, weights, scale, transform)
    return _one_hot_limit(z, int(infinite[0]), weights, scale, transform)


def _not_a_number(classes: int) -> ExactRow:
    nan = Exact(np.full(classes, np.nan), np.zeros(classes))
    return ExactRow(arb("nan"), nan, nan, np.nan, inner=nan.hi)


def _ignored(classes: int) -> ExactRow:
    """Return an ignored row without a softmax."""
    zero = np.zeros(classes)
    nan = Exact(np.full(classes, np.nan), zero)
    return ExactRow(arb(0), nan, Exact(zero, zero), np.nan, defined=False, inner=zero)


def _one_hot_limit(z: Float64, hot: int, weights: Mapping[int, fmpq], scale: fmpq, transform: Transform) -> ExactRow:
    """Return the limit as one logit grows without bound. It gets all the probability, and a z-loss grows with it."""
    zero = np.zeros_like(z)
    p = zero.copy()
    p[hot] = 1.0
    hi, lo, inner = zero.copy(), zero.copy(), zero.copy()
    q_sum = sum(weights.values(), fmpq(0))
    for j in {hot, *weights}:
        by_x = q_sum * int(j == hot) - weights.get(j, fmpq(0))
        hi[j], lo[j] = balls.split(arb(by_x * scale) * arb(transform.logit_scale))
        inner[j] = _rounded(by_x)
    if transform.z_loss:
        hi[hot], lo[hot] = np.inf, 0.0
    lost = transform.z_loss > 0 or any(j != hot for j in weights)
    loss = None if lost else arb(0)
    return ExactRow(loss, Exact(p, zero), Exact(hi, lo), 0.0 if lost else np.nan, inner=inner)


def _total(losses: list[Any]) -> Any:
    """Return the sum of the row losses: NaN if one is NaN, else infinite if one is."""
    if all(b.is_finite() for b in losses):
        return sum(losses, arb(0))
    return arb("nan") if any(b.is_nan() for b in losses) else arb("inf")


def _split_loss(ball: Any) -> tuple[float, float]:
    return balls.split(ball) if ball.is_finite() else (float(ball.mid()), 0.0)
