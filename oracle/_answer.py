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

# The fields of a `Reference` without reduction that have an entry for each row.
PER_ROW = ("loss", "probabilities", "gradient", "condition", "defined", "mass", "sole_target", "inner")


@dataclass(frozen=True)
class Exact:
    """Exact values kept as an unevaluated sum ``hi + lo`` of two float64 arrays of one shape.

    ``hi`` is the value rounded to float64. It may be either neighbour of a value within 2^-50 of a spacing of half way.
    The pair holds at least 106 bits where float64's range allows it. ``lo`` loses bits below float64's smallest number.
    """

    hi: Float64
    lo: Float64

    def __getitem__(self, index: Any) -> Exact:
        return Exact(self.hi[index], self.lo[index])

    def joined(self, function: Callable[..., Array], *others: Exact) -> Exact:
        """Apply the function to the ``hi`` arrays and to the ``lo`` arrays."""
        return Exact(function(self.hi, *(e.hi for e in others)), function(self.lo, *(e.lo for e in others)))


@dataclass(frozen=True)
class Reference:
    """The exact answer for a batch of B rows and C classes.

    Attributes:
        loss: (B,), or () for a reduced loss.
        probabilities: (B, C), the softmax of ``x``.
        gradient: (B, C), of the sum of the row losses, or of the reduced loss, with respect to the logits as given.
        condition: (B,) float64, ``max|x| * sum|dL/dx| / L`` of each row, the factor by which a relative change of ``x``
            grows in the loss. NaN where the loss is exactly 0 or not defined.
        defined: (B,) bool, False for a row that has no limit.
        mass: (B,) float64, each row's summed target weights: 1 without options, 0 for an ignored row.
        scale: () float64, the factor of the row gradients and losses: 1, or the 1 / N of a mean.
        sole_target: (B,) int64, the only class with a target weight. It is -1 if several classes or none have one, or
            if a z-loss is added. For a row with a sole target the signs of the gradient's entries are known.
        transform: the function from the logits to the loss's ``x``, and the z-loss.
        inner: (B, C) float64, the derivative of each row's cross-entropy by ``x``, without z-loss and ``scale``. None
            if ``transform`` is plain, since the gradient contains it.
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
        """Return whether the loss is a mean over no row, or over rows without weight."""
        return reduction == "mean" and bool(np.isnan(self.loss.hi)) and not (self.mass > 0).any()


def per_row(function: Callable[..., Array], *references: Reference) -> Reference:
    """Return the first reference, with the function applied to each array that has an entry for each row."""

    def result(name: str) -> Any:
        first, *others = (getattr(r, name) for r in references)
        if not isinstance(first, Exact):
            return None if first is None else function(first, *others)
        # A reduced loss has no entry for each row.
        return first.joined(function, *others) if first.hi.ndim else first

    return replace(references[0], **{name: result(name) for name in PER_ROW})


def merge_rows(where: NDArray[np.bool_], chosen: Reference, others: Reference) -> Reference:
    """Merge rows without reduction: those of ``chosen`` where the mask (B,) is True, in order, else the others."""

    def placed(of_chosen: Array, of_others: Array) -> Array:
        both = np.empty((len(where), *of_chosen.shape[1:]), of_chosen.dtype)
        both[where], both[~where] = of_chosen, of_others
        return both

    return per_row(placed, chosen, others)


def take_rows(reference: Reference, chosen: NDArray[Any]) -> Reference:
    """Return the chosen rows of a reference without reduction."""
    return per_row(lambda values: values[chosen], reference)


def without_answers(of_first_class: Reference) -> Reference:
    """Return the softmax of a reference without the rest, which an invalid target leaves undefined."""

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
    """Concatenate the references of batches of equal width, without a reduction."""
    if len(parts) == 1:
        return parts[0]
    return per_row(lambda *arrays: np.concatenate(arrays), *parts)
