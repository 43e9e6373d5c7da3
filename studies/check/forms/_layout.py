"""Rows in the form that a loss takes: logits with positions, one-hot targets, class indices of another dtype."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....frameworks import Batch
from ._form import CallForm, Layout, TargetDtype

Array = NDArray[Any]


def positions(rows: int, classes: int) -> tuple[int, int]:
    """Return the sizes of batch and positions whose product is the number of rows; both above 1 if it is not prime."""
    few = next((n for n in range(2, int(rows**0.5) + 1) if rows % n == 0), 1)
    many = rows // few
    return (few, many) if classes % 2 else (many, few)


def shaped_logits(logits: Array, form: CallForm) -> Array:
    """Return logits (B, C), or numbers of their shape, in the form's layout, as a new array if that is another one."""
    if form.layout is Layout.BC:
        return logits
    rows, classes = logits.shape
    apart = logits.reshape(*positions(rows, classes), classes)
    return np.ascontiguousarray(apart.swapaxes(1, 2)) if form.layout is Layout.BCT else apart.copy()


def shaped_targets(labels: Array, like: Array, form: CallForm) -> Array:
    """Return class indices (B,) or class probabilities (B, C) as the form's targets for logits ``like`` (B, C)."""
    if labels.ndim == 2:
        return shaped_logits(labels, form)
    if form.dense:
        return shaped_logits((labels[:, None] == np.arange(like.shape[1])).astype(like.dtype), form)
    found = labels.reshape(positions(*like.shape)) if form.layout is not Layout.BC else labels
    if form.target_dtype is TargetDtype.INT32:
        return found.astype(np.int32)
    if form.target_dtype is TargetDtype.LOGITS:
        # Only a batch whose result is not used has other indices than those that the dtype holds; see `held_targets`.
        return np.where(_exactly(found, like.dtype), found, 0).astype(like.dtype)
    return found


def rows_of(values: Array, form: CallForm) -> Array:
    """Return an array of the logits' shape in the form's layout, such as a gradient, as (B, C)."""
    if form.layout is Layout.BC or values.ndim != 3:
        return values
    apart = values.swapaxes(1, 2) if form.layout is Layout.BCT else values
    return np.ascontiguousarray(apart).reshape(-1, apart.shape[2])


def shaped(batch: Batch, form: CallForm) -> Batch:
    """Return the batch as the loss takes it; the batch itself if that is how it is."""
    x, t = shaped_logits(batch.logits, form), shaped_targets(batch.targets, batch.logits, form)
    if x is batch.logits and t is batch.targets:
        return batch
    return replace(batch, logits=x, targets=t, class_axis=form.class_axis)


def held_targets(targets: Array, logits: Array, form: CallForm) -> NDArray[np.bool_]:
    """Return which rows have a target that the form can hold: a class if it is one-hot, else exact in its dtype."""
    if form.dense:
        return np.asarray((targets >= 0) & (targets < logits.shape[1]))
    if form.target_dtype is TargetDtype.LOGITS:
        return _exactly(targets, logits.dtype)
    return np.ones(len(targets), bool)


def _exactly(targets: Array, dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    with np.errstate(over="ignore"):
        return np.asarray(targets.astype(dtype).astype(np.float64) == targets)
