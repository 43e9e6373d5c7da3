"""``linear_reference``: the exact loss and gradients of hidden states times a weight, including special values."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.conventions import STANDARD, Convention
from ..core.errors import UsageError
from ..core.options import LossOptions
from . import balls, cache
from ._answer import Exact, Reference
from ._inputs import checked_targets, class_weights, float_matrix
from ._linear_gradients import LinearGradients
from ._products import dot_products
from ._rows import LogitRows, TargetRows, reference_of_rows
from .balls import DistinctLogits
from .reference import CACHED_FROM, cache_key, checked_options
from .transform import Transform

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# The count of hidden states and weights up to which an answer is cached; the file of more may exceed 64 MiB.
CACHED_UP_TO = 2**22


@dataclass(frozen=True)
class LinearReference:
    """The exact answer of the linear problem, for B rows, H features and C classes.

    Attributes:
        logits: (B, C), ``hidden @ weight.T + bias``. ``hi`` is correctly rounded, infinite beyond float64's range.
        of_logits: the reference of the exact logits. Its ``gradient`` is with respect to the logits.
        gradient_hidden: (B, H), of the sum of the row losses, or of the reduced loss.
        gradient_weight: (C, H), likewise.
        gradient_bias: (C,), likewise; None without a bias.
    """

    logits: Exact
    of_logits: Reference
    gradient_hidden: Exact
    gradient_weight: Exact
    gradient_bias: Exact | None

    @property
    def loss(self) -> Exact:
        """The loss: (B,), or () for a reduced loss."""
        return self.of_logits.loss

    @property
    def condition(self) -> Float64:
        """The condition number (B,) of each row's loss as a function of the logits."""
        return self.of_logits.condition

    @property
    def defined(self) -> NDArray[np.bool_]:
        """Whether each row (B,) has a limit."""
        return self.of_logits.defined


def linear_reference(
    hidden: object,
    weight: object,
    targets: object,
    *,
    bias: object = None,
    label_smoothing: float = 0.0,
    class_weight: object = None,
    ignore_index: int | None = None,
    reduction: str = "none",
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
    keep: bool = True,
    convention: Convention = STANDARD,
) -> LinearReference:
    """Return the exact softmax cross-entropy of ``hidden @ weight.T + bias``, with its gradients.

    The inputs are exact numbers, and nothing is rounded between them and the answers. Each value is within 2^-100 of
    its size, and a value that is exactly 0 is 0.

    Arrays may be of any framework, on any device, and PyTorch's may require a gradient.

    Special values are limits, as in `reference`:

    - A NaN in a hidden state makes its row's loss and gradients NaN, and ``gradient_weight`` and ``gradient_bias`` of
      every class. A NaN in the weight or bias makes every row NaN.
    - An infinite number makes a logit infinite. A bias of ``-inf`` masks a class: its probability and its gradient
      entries are 0, unless it is a target. A logit that adds ``inf`` and ``-inf``, or multiplies infinity by 0, has no
      limit: its row is NaN and not ``defined``.
    - In the gradients, a gradient by a logit that is 0 adds 0, also if it multiplies an infinity: it is the limit of an
      exponential of this infinity. Other infinite terms add up as in IEEE 754.
    - An ignored row adds 0 to every gradient, whatever is in it, and its ``gradient_hidden`` is 0.

    Args:
        hidden: (B, H), float16, bfloat16, float32 or float64 (lists and integers are read as float64).
        weight: (C, H), of one of the same dtypes.
        targets: class indices (B,) of an integer dtype, or class probabilities (B, C) of a float dtype.
        bias: (C,), of one of the same dtypes.
        label_smoothing: as in `reference`, like the other options.
        class_weight: (C,), a non-negative factor for each class: the ``weight`` of `reference`.
        ignore_index: the class index of ignored rows.
        reduction: ``none``, ``sum`` or ``mean``.
        softcap: the bound of the capped logits, positive.
        logit_scale: the first factor of the logits, positive.
        z_loss: the factor of the squared logsumexp.
        keep: whether a large answer is cached on disk, if its file is not larger than about 64 MiB.
        convention: the definition of class weights and of their mean.

    Raises:
        UsageError: for a wrong shape or dtype, or a target, class weight or option out of range.
    """
    h = float_matrix(hidden, "hidden", "has", "(B, H) with at least one feature")
    w = float_matrix(weight, "weight", "has", "(C, H) with at least one feature")
    if w.shape[1] != h.shape[1] or not len(w):
        raise UsageError(
            f"weight has shape {w.shape}; expected (C, {h.shape[1]}), with at least one class and the hidden states' "
            "number of features"
        )
    b = class_weights(bias, len(w), "bias")
    of_classes = class_weights(class_weight, len(w), "class_weight")
    options = checked_options(
        label_smoothing, of_classes, ignore_index, reduction, softcap, logit_scale, z_loss, "class_weight"
    )
    t = checked_targets(targets, (len(h), len(w)), options.ignore_index)
    if len(h) * len(w) < CACHED_FROM or h.size + w.size > CACHED_UP_TO or not keep:
        return _compute(h, w, b, t, options, reduction, convention)
    inputs = {"hidden": h, "linear": w, "targets": t} | ({} if b is None else {"bias": b})
    name, transform = cache_key(inputs, options, reduction, convention), Transform.of(options)
    parts = ("logits", "gradient_hidden", "gradient_weight", *(() if b is None else ("gradient_bias",)))
    of_logits, values = cache.load(name, transform), cache.load_values(name, parts)
    if of_logits is None or values is None:
        found = _compute(h, w, b, t, options, reduction, convention)
        cache.save(name, found.of_logits, {part: getattr(found, part) for part in parts})
        return found
    return LinearReference(of_logits=of_logits, **{"gradient_bias": None, **values})  # type: ignore[arg-type]


def _compute(
    h: Float64, w: Float64, b: Float64 | None, t: Array, options: LossOptions, reduction: str, convention: Convention
) -> LinearReference:
    targets, features, transform = (
        TargetRows.of(t, len(w), options, reduction, convention),
        h.shape[1],
        Transform.of(options),
    )
    if b is not None:  # the weight of a feature that is always 1
        h, w = np.column_stack([h, np.ones(len(h))]), np.column_stack([w, b])
    exact, rows = _logits(h, w, infinite=transform.softcap is not None)
    gradients = LinearGradients(h, w, rows, targets, transform)
    of_logits = reference_of_rows(rows, targets, transform, reduction, gradients.visit)
    # A NaN that is not in the inputs is a logit without limit.
    no_limit = np.isnan(rows.special).any(axis=1) & ~_has_nan(h, w)
    of_logits = replace(of_logits, defined=of_logits.defined & ~no_limit)
    of_weight = gradients.of_weight()
    return LinearReference(
        exact,
        of_logits,
        gradients.of_hidden(features),
        of_weight[:, :features],
        None if b is None else of_weight[:, features],
    )


def _has_nan(hidden: Float64, weight: Float64) -> NDArray[np.bool_]:
    """Return which rows (B,) depend on a NaN."""
    return np.isnan(hidden).any(axis=1) | np.full(len(hidden), np.isnan(weight).any())


def _logits(hidden: Float64, weight: Float64, *, infinite: bool) -> tuple[Exact, LogitRows]:
    """Return the exact logits as floats, and as rows of distinct integers times a power of two."""
    special = _special_logits(hidden, weight)
    numbers, exponent = dot_products(
        np.where(np.isfinite(hidden), hidden, 0.0), np.where(np.isfinite(weight), weight, 0.0)
    )
    for i, j in np.argwhere(special != 0).tolist():
        numbers[i][j] = float(special[i, j])  # type: ignore[call-overload]
    known: dict[int, DistinctLogits] = {}

    def distinct(r: int) -> DistinctLogits:
        if r not in known:
            known[r] = balls.distinct_logits(numbers[r], exponent=exponent, infinite=infinite)
        return known[r]

    pairs = np.array([_split(n, exponent) for of_row in numbers for n in of_row]).reshape(*special.shape, 2)
    return Exact(pairs[..., 0].copy(), pairs[..., 1].copy()), LogitRows(special, distinct)


def _special_logits(hidden: Float64, weight: Float64) -> Float64:
    """Return the infinite and NaN logits (B, C), and 0 for finite ones."""
    special = np.zeros((len(hidden), len(weight)))
    rows, classes = (np.flatnonzero(~np.isfinite(x).all(axis=1)) for x in (hidden, weight))
    if not rows.size + classes.size:
        return special
    signs_of_hidden, signs_of_weight = _signs(hidden), _signs(weight)
    with np.errstate(invalid="ignore"):
        for i in rows:
            special[i] = _sum_of_infinite(signs_of_hidden[i] * signs_of_weight)
        for j in classes:
            special[:, j] = _sum_of_infinite(signs_of_hidden * signs_of_weight[j])
    return special


def _signs(x: Float64) -> Float64:
    return np.where(np.isfinite(x), np.sign(x), x)


def _sum_of_infinite(terms: Float64) -> Float64:
    total: Float64 = np.where(np.isfinite(terms), 0.0, terms).sum(axis=1)
    return total


def _split(number: Any, exponent: int) -> tuple[float, float]:
    """Return an integer times a power of two as the sum of two floats, each correctly rounded."""
    if isinstance(number, float):
        return number, 0.0
    above, below = (number << exponent, 1) if exponent >= 0 else (number, 1 << -exponent)
    try:
        hi = above / below  # Python's division of integers rounds once
    except OverflowError:
        return (np.inf if number > 0 else -np.inf), 0.0
    numerator, denominator = hi.as_integer_ratio()
    return hi, (above * denominator - numerator * below) / (below * denominator)
