"""``reference``: the exact softmax cross-entropy of a batch, including special values."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import as_integer
from ..core.conventions import STANDARD, Convention
from ..core.errors import UsageError
from ..core.options import REDUCTIONS, LossOptions, check_option
from . import _vectorized, balls, cache
from ._answer import Reference, merge_rows, take_rows
from ._inputs import checked_targets, class_weights, float_logits
from ._rows import LogitRows, TargetRows, reference_of_rows
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
    w = class_weights(weight, x.shape[1])
    options = checked_options(label_smoothing, w, ignore_index, reduction, softcap, logit_scale, z_loss)
    t = checked_targets(targets, x.shape, options.ignore_index)
    if x.size < CACHED_FROM or not keep:
        return _compute(x, t, options, reduction, convention)
    name = cache_key({"logits": x, "targets": t}, options, reduction, convention)
    found = cache.load(name, Transform.of(options))
    if found is None:
        found = _compute(x, t, options, reduction, convention)
        cache.save(name, found)
    return found


def cache_key(inputs: Mapping[str, Array], options: LossOptions, reduction: str, convention: Convention) -> str:
    """Return the name under which the answer to inputs with options is cached."""
    parts: dict[str, ArrayLike] = {**inputs, "smoothing": float(options.label_smoothing), "reduction": reduction}
    parts |= {"mean": convention.mean.name, "weighting": convention.weighting.name} if convention.differs else {}
    set_options = options.set_options.items()
    return cache.key(parts | {o: np.asarray(v) for o, v in set_options if o != "label_smoothing"})


def _compute(x: Float64, t: Array, options: LossOptions, reduction: str, convention: Convention) -> Reference:
    if t.ndim == 2 or options.set_options or reduction != "none" or x.size < VECTORIZED_FROM:
        return _by_balls(x, t, options, reduction, convention)
    found, decided = _vectorized.evaluate(x, t)
    if decided.all():
        return found
    others = _by_balls(x[~decided], t[~decided], options, reduction, convention)
    return merge_rows(decided, take_rows(found, decided), others)


def checked_options(
    label_smoothing: float,
    weight: Float64 | None,
    ignore_index: int | None,
    reduction: str,
    softcap: float | None,
    logit_scale: float | None,
    z_loss: float,
    weight_name: str = "weight",
) -> LossOptions:
    """Return the options; raise `UsageError` for one that is out of range, or an unknown reduction."""
    options = LossOptions(
        label_smoothing=label_smoothing,
        weight=weight,
        ignore_index=None if ignore_index is None else as_integer(ignore_index, "ignore_index", -math.inf),
        softcap=softcap,
        logit_scale=logit_scale,
        z_loss=z_loss,
    )
    for name, value in options.set_options.items():
        check_option(name, value, weight_name if name == "weight" else name)
    if reduction not in REDUCTIONS:
        raise UsageError(f"unknown reduction {reduction!r}; choose one of {', '.join(REDUCTIONS)}")
    return options


def _by_balls(x: Float64, t: Array, options: LossOptions, reduction: str, convention: Convention) -> Reference:
    targets = TargetRows.of(t, x.shape[1], options, reduction, convention)
    logits = LogitRows(x, lambda r: balls.distinct_logits(x[r], infinite=options.softcap is not None))
    return reference_of_rows(logits, targets, Transform.of(options), reduction)
