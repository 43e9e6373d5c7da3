"""Right NumPy losses with their gradients, each with a different method."""

from __future__ import annotations

import numpy as np

from .. import sound
from .losses import onehot, pick, shift, shifted, softmax

ALL = ("float16", "bfloat16", "float32", "float64")


def softmax_less_onehot(x, t):
    return (softmax(x) - onehot(t, x)).astype(x.dtype)


def target_from_the_others(x, t):
    """The target's gradient is minus the sum of the others, so that nothing cancels near certainty."""
    e = np.exp(shift(x))
    hot = onehot(t, e) == 1
    rest = np.where(hot, 0, e).sum(axis=1, keepdims=True)
    total = e.sum(axis=1, keepdims=True)
    g = np.where(hot, -rest / total, e / total)
    return np.where(np.isnan(e).any(axis=1, keepdims=True), np.nan, g).astype(x.dtype)


@sound(*ALL, gradient=softmax_less_onehot)
def target_shifted_too(x, t):
    """log-sum-exp of shifted logits less the shifted target."""
    return shifted(x, t)


@sound(*ALL, gradient=target_from_the_others)
def summed_in_float64(x, t):
    """Terms of the dtype, or of float32, summed in float64."""
    s = shift(x)
    return (np.log(np.exp(s).sum(axis=1, dtype=np.float64)) - pick(s, t)).astype(x.dtype)


@sound(*ALL, gradient=softmax_less_onehot)
def maximum_taken_out(x, t):
    """log1p of the sum of the others."""
    s = shift(x)
    e = np.exp(s)
    np.put_along_axis(e, s.argmax(axis=1)[:, None], np.where(np.isnan(s).any(axis=1), np.nan, 0)[:, None], axis=1)
    return (np.log1p(e.sum(axis=1)) - pick(s, t)).astype(x.dtype)


@sound("float32", "float64", gradient=target_from_the_others)
def row_by_row(x, t):
    """A loop over the rows."""
    return np.array([shifted(row[None], target[None])[0] for row, target in zip(x, t, strict=True)], x.dtype)


@sound("float32", "float64", gradient=softmax_less_onehot)
def reduced_by_log_add_exp(x, t):
    """The shifted logits are merged one by one by logaddexp."""
    s = shift(x)
    return np.logaddexp.reduce(s, axis=1) - pick(s, t)
