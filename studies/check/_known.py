"""What is known of a batch as the catalogue has it: what each row is graded by, and the grades of its first answer.

A check presents the same rows in twenty ways, and a sound loss answers with the same bits in most of them. Equal bits
of a row have equal grades, so that only answers that differ are graded again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import Quantity
from ...grading import Graded, Standard, grade_by
from ...oracle import Exact, Reference
from ._features import Features

Array = NDArray[Any]
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Known:
    """A batch of logits (B, C) in a dtype with its exact answer, and what was computed from them once."""

    logits: Array
    fmt: Format
    exact: Reference
    reduction: str = "none"
    row_losses: Exact | None = None
    _standards: dict[Quantity, Standard] = field(default_factory=dict, repr=False)
    _answers: dict[Quantity, tuple[Array, Graded]] = field(default_factory=dict, repr=False)

    @cached_property
    def features(self) -> Features:
        """What is hard about each row."""
        losses = self.exact.loss if self.row_losses is None else self.row_losses
        return Features.of(self.logits, losses.hi)

    def grade(self, quantity: Quantity, computed: Array, places: Index) -> Graded:
        """The grades of an answer for the rows at these places, with the classes in the batch's order."""
        if self.reduction != "none" and quantity == Quantity.LOSS:
            return grade_by(self._standard(quantity), computed)
        first, graded = self._answers.get(quantity, (None, None))
        if first is None or graded is None or first.dtype != computed.dtype:
            graded = self._grade_each(quantity, computed, places)
            if np.array_equal(places, np.arange(len(self.logits))):
                self._answers[quantity] = computed, graded
            return graded
        other = np.flatnonzero(rows_differ(computed, first[places]))
        again = self._grade_each(quantity, computed[other], places[other]) if other.size else None
        return graded.take(places) if again is None else graded.take(places).replaced(other, again)

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
    """Which rows differ in a bit, all NaN taken for one."""
    bits = f"u{one.dtype.itemsize}"
    differ = one.view(bits) != other.view(bits)
    if differ.any():  # which is rare
        differ &= ~(np.isnan(one) & np.isnan(other))
    found: NDArray[np.bool_] = differ.reshape(len(one), -1).any(axis=1)
    return found


def distinct_rows(*arrays: Array) -> tuple[Index, Index]:
    """The first of each kind of row, taken over all arrays bit for bit, and of each row the place of its kind there."""
    parts = [np.ascontiguousarray(a).reshape(len(a), -1).view(np.uint8).reshape(len(a), -1) for a in arrays]
    joined = np.concatenate(parts, axis=1)
    rows = joined.view(f"V{joined.shape[1]}").reshape(-1)
    _, first, copies = np.unique(rows, return_index=True, return_inverse=True)
    return first, copies
