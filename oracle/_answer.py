"""Exact values, and the exact answer for a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .transform import PLAIN, Transform

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# What a `Reference` without reduction has for each row: whoever picks rows picks all of it.
PER_ROW = ("loss", "probabilities", "gradient", "condition", "defined", "mass", "sole_target", "inner")


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

    def joined(self, function: Callable[..., Array], *others: Exact) -> Exact:
        """What the function makes of the first halves, and of the second."""
        return Exact(function(self.hi, *(e.hi for e in others)), function(self.lo, *(e.lo for e in others)))


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

    def is_over_nothing(self, reduction: str) -> bool:
        """Whether the loss is a mean over no row, or over rows without weight."""
        return reduction == "mean" and bool(np.isnan(self.loss.hi)) and not (self.mass > 0).any()


def per_row(function: Callable[..., Array], *references: Reference) -> Reference:
    """The first reference, with what the function makes of each array of them that has a line for each row."""

    def result(name: str) -> Any:
        first, *others = (getattr(r, name) for r in references)
        if not isinstance(first, Exact):
            return None if first is None else function(first, *others)
        # A reduced loss is that of all rows.
        return first.joined(function, *others) if first.hi.ndim else first

    return replace(references[0], **{name: result(name) for name in PER_ROW})


def merge_rows(where: NDArray[np.bool_], chosen: Reference, others: Reference) -> Reference:
    """Of rows without reduction those of ``chosen`` where the mask (B,) is true, in order, and elsewhere the others."""

    def placed(of_chosen: Array, of_others: Array) -> Array:
        both = np.empty((len(where), *of_chosen.shape[1:]), of_chosen.dtype)
        both[where], both[~where] = of_chosen, of_others
        return both

    return per_row(placed, chosen, others)


def take_rows(reference: Reference, chosen: NDArray[Any]) -> Reference:
    """The chosen rows of a reference without reduction."""
    return per_row(lambda values: values[chosen], reference)


def without_answers(of_first_class: Reference) -> Reference:
    """Of a reference the softmax alone: where a target is none of the classes, nothing else is known."""

    def unknown(known: Exact) -> Exact:
        return Exact(np.full_like(known.hi, np.nan), np.zeros_like(known.lo))

    return replace(
        of_first_class,
        loss=unknown(of_first_class.loss),
        gradient=unknown(of_first_class.gradient),
        condition=np.full_like(of_first_class.condition, np.nan),
        defined=np.zeros_like(of_first_class.defined),
        sole_target=np.full_like(of_first_class.sole_target, -1),
    )


def stack_references(parts: Sequence[Reference]) -> Reference:
    """The references of batches of equal width, without a reduction, as one of all their rows."""
    if len(parts) == 1:
        return parts[0]
    return per_row(lambda *arrays: np.concatenate(arrays), *parts)
