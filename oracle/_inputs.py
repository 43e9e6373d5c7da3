"""Check logits, targets and class weights, and convert them for the oracle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from ..core.formats import FORMATS, NARROW, is_format_name, to_numpy

Array = NDArray[Any]
Float64 = NDArray[np.float64]


def float_logits(logits: object) -> Float64:
    """Return logits (B, C) as float64, which holds each of them exactly; raise `UsageError` for others."""
    return float_matrix(logits, "logits", "have", "(B, C) with at least one class")


def float_matrix(values: object, name: str, have: str, expected: str) -> Float64:
    """Return a matrix with at least one column as float64, which holds each of its numbers exactly.

    Raises:
        UsageError: for another shape or dtype. The message has the ``name``, "has" or "have", and the expected shape.
    """
    x = float_array(values, name, have)
    if x.ndim != 2 or x.shape[1] == 0:
        raise UsageError(f"{name} {have} shape {x.shape}; expected {expected}")
    return np.ascontiguousarray(x)


def float_array(values: object, name: str, have: str) -> Float64:
    """Return an array as float64; raise `UsageError` for a dtype that is not of floats."""
    x = to_numpy(values, name)
    if x.dtype.kind in "iu":
        x = x.astype(np.float64)
    if not is_format_name(x.dtype.name):
        raise UsageError(f"{name} {have} dtype {x.dtype}; expected one of {', '.join([*FORMATS, *NARROW])}")
    return x.astype(np.float64)


def checked_targets(targets: object, shape: tuple[int, ...], ignore_index: int | None) -> Array:
    t = to_numpy(targets, "targets")
    if t.size == 0 and shape[0] == 0:
        return t.reshape(0).astype(np.int64)
    if t.dtype.kind in "iu":
        return class_indices(t, shape, ignore_index)
    if not is_format_name(t.dtype.name):
        raise UsageError(f"targets have dtype {t.dtype}; expected integers (B,) or probabilities (B, C)")
    if t.shape != shape:
        raise UsageError(f"target probabilities have shape {t.shape}; expected that of the logits, {shape}")
    t = t.astype(np.float64)
    if not (np.isfinite(t) & (t >= 0)).all():
        wrong = float(t[~(np.isfinite(t) & (t >= 0))][0])
        raise UsageError(f"a target probability is {wrong:g}; expected finite numbers of at least 0")
    return t


def class_indices(t: Array, shape: tuple[int, ...], ignore_index: int | None) -> Array:
    """Return integer targets (B,) as int64; raise `UsageError` for a target out of range."""
    rows, classes = shape
    if t.shape != (rows,):
        raise UsageError(f"integer targets have shape {t.shape}; expected ({rows},), one for each row of the logits")
    ignored = np.zeros(rows, bool) if ignore_index is None else t == ignore_index
    outside = np.flatnonzero(~ignored & ((t < 0) | (t >= classes)))
    if outside.size:
        r = int(outside[0])
        raise UsageError(
            f"target {int(t[r])} in row {r} is out of range; with {classes} classes, expected 0 to {classes - 1}"
        )
    return t.astype(np.int64)


def class_weights(weight: object, classes: int, name: str = "weight") -> Float64 | None:
    if weight is None:
        return None
    w = float_array(weight, name, "has")
    if w.shape != (classes,):
        raise UsageError(f"{name} has shape {w.shape}; expected ({classes},), one for each class")
    return w
