"""``reference``: the exact softmax cross-entropy of a batch, special values included."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flint import arb, fmpq
from numpy.typing import NDArray

from ..core.arguments import as_integer
from ..core.conventions import STANDARD, Convention
from ..core.errors import UsageError
from ..core.formats import FORMATS, to_numpy
from ..core.options import REDUCTIONS, LossOptions, check_option
from . import balls, cache
from ._weights import divisor_of_mean, target_weights
from .transform import PLAIN, Transform

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# What a `Reference` without reduction has for each row: whoever picks rows picks all of it.
PER_ROW = ("loss", "probabilities", "gradient", "condition", "defined", "mass", "sole_target", "inner")
# Below this many logits evaluating the balls is quicker than opening a file.
CACHED_FROM = 4096


@dataclass(frozen=True)
class Exact:
    """Exact values kept as an unevaluated sum ``hi + lo`` of two float64 arrays of one shape.

    ``hi`` is the value rounded to float64 (to either neighbour, where it lies within 2^-50 of a spacing of half
    way). Where float64's range allows it the pair holds at least 106 bits; ``lo`` loses bits where it would fall
    below float64's smallest number.
    """

    hi: Float64
    lo: Float64

    def __getitem__(self, index: Any) -> Exact:
        return Exact(self.hi[index], self.lo[index])


@dataclass(frozen=True)
class Reference:
    """The exact answer for a batch of B rows and C classes.

    Attributes:
        loss: (B,), or () for a reduced loss.
        probabilities: (B, C), the softmax of ``x``.
        gradient: (B, C), of the sum of the row losses, or of the reduced loss, with respect to the logits as given.
        condition: (B,) float64, ``max|x| * sum|dL/dx| / L`` of each row: how much a relative change of ``x`` grows in
            the loss. NaN where the loss is exactly 0 or not defined.
        defined: (B,) bool, False for a row that has no limit.
        mass: (B,) float64, each row's summed target weights: 1 without options, 0 where it is ignored.
        scale: () float64, what the row gradients and losses are multiplied by: 1, or the 1 / N of a mean.
        sole_target: (B,) int64, the class that alone has a target weight, -1 where several have one or none has,
            or a z-loss is added. Of such a row the signs of the gradient's entries are known.
        transform: how the loss's ``x`` come from the logits, and the z-loss.
        inner: (B, C) float64, the derivative of each row's cross-entropy by ``x``, without z-loss and ``scale``; None
            where ``transform`` is plain, and the gradient says it.
    """

    loss: Exact
    probabilities: Exact
    gradient: Exact
    condition: Float64
    defined: NDArray[np.bool_]
    mass: Float64
    scale: Float64
    sole_target: NDArray[np.int64]
    transform: Transform = PLAIN
    inner: Float64 | None = None


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
    """The exact softmax cross-entropy of logits taken as exact numbers.

    With ``z`` the logits, the loss is that of ``x``: first ``x = logit_scale * z``, then
    ``x = softcap * tanh(x / softcap)``. A row that counts has ``z_loss * logsumexp(x)^2`` added to its loss.

    Arrays may be of any framework, on any device, and PyTorch's may require a gradient.

    Args:
        logits: (B, C), float16, bfloat16, float32 or float64 (lists and integers are read as float64).
        targets: class indices (B,) of an integer dtype, or class probabilities (B, C) of a float dtype.
        label_smoothing: in [0, 1]; the target becomes ``(1 - s) target + s / C``.
        weight: (C,), a non-negative factor for each class.
        ignore_index: rows with this class index count nothing, whatever is in them: loss and gradient are 0
            (integer targets only). One of NaN or without limit is not ``defined`` all the same: it has no softmax.
        reduction: ``none``, ``sum`` or ``mean``. As PyTorch defines it, ``mean`` divides by the summed
            weights of the rows that count for class indices, and by B for probabilities.
        softcap: the bound of the capped logits, positive. It is applied to infinite logits too: a class masked with
            ``-inf`` has ``x = -softcap``, and its share of the probability.
        logit_scale: one over a temperature, positive.
        z_loss: the factor of the squared logsumexp, as in PaLM (A. Chowdhery et al., *PaLM: Scaling language modeling
            with pathways*, JMLR 24, 2023, section 5). Neither class weights nor label smoothing change the term, as
            Liger-Kernel's ``lse_square_scale`` has it; an ignored row has none. It is part of the row's loss, and a
            reduction treats it as such: a weighted ``mean`` divides it by the summed weights too, where Liger-Kernel
            divides it by the number of rows.
        keep: whether a large reference is kept on disk, and taken from there.
        convention: the definition of class weights and of their mean, where it is not the one above.

    Returns:
        A `Reference`. A NaN logit makes its row NaN; a ``-inf`` logit has probability 0, and on the target the loss
        ``+inf`` and the finite gradient ``softmax - onehot``; one ``+inf`` is the limit one-hot. A row that is all
        ``-inf`` or has two or more ``+inf`` has no limit, and a mean over nothing that counts has no value: NaN, the
        gradient too, and ``defined`` is False there. Under a cap all but NaN have a value.

    Raises:
        UsageError: for a wrong shape or dtype, or a target, weight or option out of range.
    """
    x = float_logits(logits)
    ignore_index = None if ignore_index is None else as_integer(ignore_index, "ignore_index", -math.inf)
    t = _targets(targets, x.shape, ignore_index)
    w = _weight(weight, x.shape[1])
    options = LossOptions(
        label_smoothing=label_smoothing,
        weight=w,
        ignore_index=ignore_index,
        softcap=softcap,
        logit_scale=logit_scale,
        z_loss=z_loss,
    )
    for name, value in options.set_options.items():
        check_option(name, value)
    if reduction not in REDUCTIONS:
        raise UsageError(f"unknown reduction {reduction!r}; the reductions are {', '.join(REDUCTIONS)}")
    if x.size < CACHED_FROM or not keep:
        return _unpack(_compute(x, t, options, reduction, convention), options)
    inputs = {"logits": x, "targets": t, "smoothing": float(label_smoothing), "reduction": reduction}
    inputs |= {"mean": convention.mean.name, "weighting": convention.weighting.name} if convention.differs else {}
    name = cache.key(inputs | {o: value for o, value in options.set_options.items() if o != "label_smoothing"})
    arrays = cache.load(name)
    if arrays is None:
        arrays = _compute(x, t, options, reduction, convention)
        cache.save(name, arrays)
    return _unpack(arrays, options)


def float_logits(logits: object) -> Float64:
    """Logits (B, C) as float64, which holds each of them exactly; `UsageError` for others."""
    x = to_numpy(logits, "logits")
    if x.dtype.kind in "iu":
        x = x.astype(np.float64)
    if x.dtype.name not in FORMATS:
        raise UsageError(f"logits have dtype {x.dtype}; expected one of {', '.join(FORMATS)}")
    if x.ndim != 2 or x.shape[1] == 0:
        raise UsageError(f"logits have shape {x.shape}; expected (B, C) with at least one class")
    return np.ascontiguousarray(x.astype(np.float64))


def _targets(targets: object, shape: tuple[int, ...], ignore_index: int | None) -> Array:
    t = to_numpy(targets, "targets")
    if t.size == 0 and shape[0] == 0:
        return t.reshape(0).astype(np.int64)
    if t.dtype.kind in "iu":
        return class_indices(t, shape, ignore_index)
    if t.dtype.name not in FORMATS:
        raise UsageError(f"targets have dtype {t.dtype}; expected integers (B,) or probabilities (B, C)")
    if t.shape != shape:
        raise UsageError(f"target probabilities have shape {t.shape}; expected that of the logits, {shape}")
    t = t.astype(np.float64)
    if not (np.isfinite(t) & (t >= 0)).all():
        raise UsageError("target probabilities must be finite and not negative")
    return t


def class_indices(t: Array, shape: tuple[int, ...], ignore_index: int | None) -> Array:
    """Targets (B,) of an integer dtype as int64; `UsageError` for one that is none of the classes."""
    rows, classes = shape
    if t.shape != (rows,):
        raise UsageError(f"integer targets have shape {t.shape}; expected ({rows},), one for each row of the logits")
    ignored = np.zeros(rows, bool) if ignore_index is None else t == ignore_index
    outside = np.flatnonzero(~ignored & ((t < 0) | (t >= classes)))
    if outside.size:
        r = int(outside[0])
        raise UsageError(
            f"target {int(t[r])} in row {r} is out of range; with {classes} classes it must be 0 to {classes - 1}"
        )
    return t.astype(np.int64)


def _weight(weight: object, classes: int) -> Float64 | None:
    if weight is None:
        return None
    w = to_numpy(weight, "weight")
    if w.dtype.kind not in "iu" and w.dtype.name not in FORMATS:
        raise UsageError(f"weight has dtype {w.dtype}; expected one of {', '.join(FORMATS)}")
    w = w.astype(np.float64)
    if w.shape != (classes,):
        raise UsageError(f"weight has shape {w.shape}; expected ({classes},), one for each class")
    return w


def _transform(options: LossOptions) -> Transform:
    scale, cap = options.logit_scale, options.softcap
    return Transform(1.0 if scale is None else float(scale), None if cap is None else float(cap), float(options.z_loss))


def _compute(x: Float64, t: Array, options: LossOptions, reduction: str, convention: Convention) -> dict[str, Array]:
    smoothing, w, ignored, transform = (
        options.label_smoothing,
        options.weight,
        options.ignore_index,
        _transform(options),
    )
    counted = np.ones(len(x), bool) if t.ndim == 2 or ignored is None else t != ignored
    weights = [
        target_weights(t[r], x.shape[1], smoothing, w, convention.weighting) if counted[r] else {}
        for r in range(len(x))
    ]
    divisor = divisor_of_mean(t, w, counted, weights, convention.mean) if reduction == "mean" else fmpq(1)
    scale = 1 / divisor if divisor else fmpq(1)
    with balls.precision(4 * balls.START_BITS):
        rows = [_row(x[r], weights[r], scale, transform, counted=bool(counted[r])) for r in range(len(x))]
        # A mean over no weight at all divides zero by zero: neither it nor its gradient has a value.
        # So has the softmax of an ignored row of NaN or without limit, though the row counts nothing.
        defined = np.array([r is not None and r.defined and bool(divisor) for r in rows], bool)
        filled = [_not_a_number(x.shape[1]) if r is None else r for r in rows]
        if not divisor:
            filled = [replace(r, gradient=_not_a_number(x.shape[1]).gradient) for r in filled]
        losses = [arb("inf") if r.loss is None else r.loss for r in filled]
        if reduction == "none":
            loss = np.array([_split_loss(b) for b in losses]).reshape(-1, 2)
        else:
            loss = np.array(_split_loss(_total(losses) / arb(divisor)))
    shape = (len(x), 2, x.shape[1])
    p = np.array([r.probabilities for r in filled]).reshape(shape)
    g = np.array([r.gradient for r in filled]).reshape(shape)
    return {
        "loss": np.moveaxis(loss, -1, 0),
        "probabilities": np.moveaxis(p, 1, 0),
        "gradient": np.moveaxis(g, 1, 0),
        "condition": np.array([r.condition for r in filled], np.float64),
        "defined": defined,
        "mass": np.array([_rounded(sum(q.values(), fmpq(0))) for q in weights], np.float64),
        "scale": np.array(_rounded(scale)),
        "sole_target": np.array(
            [next(iter(q)) if len(q) == 1 and not transform.z_loss else -1 for q in weights], np.int64
        ),
        **({} if transform.plain else {"inner": np.array([r.inner for r in filled]).reshape(x.shape)}),
    }


def _unpack(arrays: Mapping[str, Array], options: LossOptions) -> Reference:
    loss, p, g = (Exact(*(half.copy() for half in arrays[k])) for k in ("loss", "probabilities", "gradient"))
    others = {k: arrays.get(k) for k in ("condition", "defined", "mass", "scale", "sole_target", "inner")}
    return Reference(loss, p, g, transform=_transform(options), **others)  # type: ignore[arg-type] # inner may be None


def _rounded(value: fmpq) -> float:
    # Python's own division of integers rounds once.
    return int(value.p) / int(value.q)


def _row(
    z: Float64, weights: Mapping[int, fmpq], scale: fmpq, transform: Transform, *, counted: bool
) -> balls.Row | None:
    """One row with its special values; None for a row that has no limit."""
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


def _not_a_number(classes: int) -> balls.Row:
    nan = (np.full(classes, np.nan), np.zeros(classes))
    return balls.Row(arb("nan"), nan, nan, np.nan, inner=nan[0])


def _ignored(classes: int) -> balls.Row:
    """A row that counts nothing and has no softmax."""
    zero = np.zeros(classes)
    return balls.Row(arb(0), (np.full(classes, np.nan), zero), (zero, zero), np.nan, defined=False, inner=zero)


def _one_hot_limit(z: Float64, hot: int, weights: Mapping[int, fmpq], scale: fmpq, transform: Transform) -> balls.Row:
    """The limit as one logit grows without bound: it takes all the probability, and a z-loss grows with it."""
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
    return balls.Row(None if lost else arb(0), (p, zero), (hi, lo), 0.0 if lost else np.nan, inner=inner)


def _total(losses: list[Any]) -> Any:
    """The sum of the row losses: NaN if one is NaN, else infinite if one is."""
    return sum(losses, arb(0)) if all(b.is_finite() for b in losses) else _extreme(losses)


def _extreme(losses: list[Any]) -> Any:
    return arb("nan") if any(b.is_nan() for b in losses) else arb("inf")


def _split_loss(ball: Any) -> tuple[float, float]:
    return balls.split(ball) if ball.is_finite() else (float(ball.mid()), 0.0)
