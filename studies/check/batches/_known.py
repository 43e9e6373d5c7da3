"""A cache of grades for a batch of the catalogue: the standard of each row, and the grades of its first result.

A check presents the same rows in twenty ways, and a correct loss returns the same bits in most of them. Equal bits have
equal grades, so only rows with different bits are graded again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.formats import Format
from ....core.vocabulary import Quantity
from ....grading import Graded, Standard, grade_by
from ....oracle import Exact, Reference
from ._features import Features

Array = NDArray[Any]
Index = NDArray[np.intp]

MAX_ENTRIES = 2**21  # entries of a gradient that are graded together; each needs about 100 bytes


@dataclass(frozen=True, eq=False)
class Known:
    """A batch of logits (B, C) in a dtype with its exact answer, features and first grades."""

    logits: Array
    fmt: Format
    exact: Reference
    reduction: str = "none"
    row_losses: Exact | None = None
    _standards: dict[Quantity, Standard] = field(default_factory=dict, repr=False)
    _answers: dict[Quantity, tuple[Array, Graded]] = field(default_factory=dict, repr=False)

    @cached_property
    def features(self) -> Features:
        """The features of each row."""
        losses = self.exact.loss if self.row_losses is None else self.row_losses
        return Features.of(self.logits, losses.hi)

    def grade(self, quantity: Quantity, computed: Array, places: Index) -> Graded:
        """Return the grades of a result for the rows at these indices, with the classes in the batch's order."""
        if self.reduction != "none" and quantity == Quantity.LOSS:
            return grade_by(self._standard(quantity), computed)
        if computed.size > MAX_ENTRIES and len(places) > len(self.logits):
            size = max(len(self.logits), MAX_ENTRIES // computed.shape[1])
            parts = [slice(i, i + size) for i in range(0, len(computed), size)]
            return Graded.joined([self.grade(quantity, computed[part], places[part]) for part in parts])
        first, graded = self._answers.get(quantity, (None, None))
        if first is None or graded is None or first.dtype != computed.dtype:
            graded = self._grade_each(quantity, computed, places)
            if np.array_equal(places, np.arange(len(self.logits))):
                self._answers[quantity] = computed, graded
            return graded
        other = np.flatnonzero(rows_differ(computed, first[places]))
        again = self._grade_each(quantity, computed[other], places[other]) if other.size else None
        return graded.take(places) if again is None else graded.take(places).replaced(other, again)

    def grade_once(self, quantity: Quantity, computed: Array, places: Index) -> Graded:
        """Return the grades of a result, as `grade` does, without a comparison with the first result."""
        return grade_by(self._standard(quantity).take(places), computed)

    def _grade_each(self, quantity: Quantity, computed: Array, places: Index) -> Graded:
        if len(places) <= len(self.logits):
            return grade_by(self._standard(quantity).take(places), computed)
        few, copies = distinct_rows(places, computed)
        return grade_by(self._standard(quantity).take(places[few]), computed[few]).take(copies)

    def _standard(self, quantity: Quantity) -> Standard:
        if quantity not in self._standards:
            given = self.logits, self.fmt, self.exact, self.reduction, self.row_losses
            self._standards[quantity] = Standard.of(quantity, *given)
        return self._standards[quantity]


def rows_differ(one: Array, other: Array) -> NDArray[np.bool_]:
    """Return which rows differ in a bit; all NaN are equal."""
    bits = f"u{one.dtype.itemsize}"
    differ = one.view(bits) != other.view(bits)
    if differ.any():  # which is rare
        differ &= ~(np.isnan(one) & np.isnan(other))
    found: NDArray[np.bool_] = differ.reshape(len(one), -1).any(axis=1)
    return found


def distinct_rows(*arrays: Array) -> tuple[Index, Index]:
    """Return the indices of the distinct rows of all arrays, compared bitwise, and each row's index among them."""
    parts = [np.ascontiguousarray(a).reshape(len(a), -1).view(np.uint8).reshape(len(a), -1) for a in arrays]
    joined = np.concatenate(parts, axis=1)
    rows = joined.view(f"V{joined.shape[1]}").reshape(-1)
    _, first, copies = np.unique(rows, return_index=True, return_inverse=True)
    return first, copies
