"""The rows of a check: batches of the catalogue's cases, and their presentation to a loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cases import Case
from ...core.formats import Format
from ...core.vocabulary import Quantity
from ...execution.plan import Group, groups
from ...frameworks import Batch
from ...grading import Graded, grade
from ...oracle import Exact, Reference, per_row
from ._features import Features
from ._known import Known
from ._options import PLAIN, CallOptions
from ._presentation import CATALOGUED, Arrangement, CallKind, Presentation

Array = NDArray[Any]
Index = NDArray[np.intp]
Objects = NDArray[np.object_]

OTHER_LAYOUTS = {"transposed": Arrangement.TRANSPOSED, "strided": Arrangement.STRIDED}
LAID = ("rows", *OTHER_LAYOUTS)  # layouts that the adapters support


@dataclass(frozen=True, eq=False)
class Origin:
    """The origin of presented rows, which have the same numbers.

    Attributes:
        known: the batch of the catalogue.
        places: (B,), each row's index in it.
        classes: (C,), the index of each of its classes in the presented rows; None for the same order.
    """

    known: Known
    places: Index
    classes: Index | None = None

    def grade(self, quantity: Quantity, computed: Array) -> Graded:
        """Return the grades of a result for the presented rows."""
        entries = computed if self.classes is None or quantity == Quantity.LOSS else computed[:, self.classes]
        return self.known.grade(quantity, entries, self.places)


@dataclass(frozen=True, eq=False)
class PresentedRows:
    """A batch of rows of one width with their exact answers.

    Attributes:
        ids: (B,), the name of each row's case.
        numbers: (B,), each row's number in its case.
        logits, targets: (B, C) in the dtype, and (B,).
        exact: the reference of the rows.
        fmt: the dtype.
        how: the presentation.
        layout: the memory layout, as of a case.
        per_call: the number of rows in a call; None for all of them.
        weights: (B,), the factors of the losses, in the dtype; None for none.
        distinct: (B,), the index of the row that each copies; None if no row is a copy.
        options: the loss options of the call.
        row_losses: the exact losses before the reduction; None without a reduction.
        origin: the batch of the catalogue with these rows; None for rows with other numbers.
    """

    ids: Objects
    numbers: Index
    logits: Array
    targets: Array
    exact: Reference
    fmt: Format
    how: Presentation = CATALOGUED
    layout: str = "rows"
    per_call: int | None = None
    weights: Array | None = None
    distinct: Index | None = None
    options: CallOptions = PLAIN
    row_losses: Exact | None = None
    origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def count(self) -> int:
        """The number of distinct rows, which come before their copies."""
        return len(self) if self.distinct is None else int(self.distinct.max(initial=-1)) + 1

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    @cached_property
    def features(self) -> Features:
        """The features of each row."""
        if self.origin is not None:
            return self.origin.known.features.take(self.origin.places)
        return Features.of(self.logits, (self.exact.loss if self.row_losses is None else self.row_losses).hi)

    def grade(self, quantity: Quantity, computed: Array) -> Graded:
        """Return the grades of a result for the rows."""
        if self.origin is not None:
            return self.origin.grade(quantity, computed)
        reduction = self.options.reduction
        return grade(
            quantity, computed, self.logits, self.fmt, self.exact, reduction=reduction, row_losses=self.row_losses
        )

    def in_memory(self) -> tuple[Array, Index]:
        """Return new logits and targets in the memory layout of the presentation."""
        logits = Batch(self.logits.copy(), self.targets, layout=self.layout if self.layout in LAID else "rows")
        x, t = logits.in_memory(), self.targets.copy()
        if self.how.arrangement is Arrangement.SLICED:
            around = np.zeros((len(x) + 1, self.classes + 5), x.dtype)
            around[1:, 3:-2] = x
            x = around[1:, 3:-2]
        if self.how.arrangement is Arrangement.EVERY_OTHER:
            t = np.repeat(t, 2)
            t[1::2] = (t[1::2] + 1) % max(self.classes, 1)
            t = t[::2]
        return x, t

    @property
    def batches(self) -> list[Batch]:
        """The batches of the calls."""
        size, reduction = self.per_call or len(self), self.options.reduction
        parts = [slice(i, i + size) for i in range(0, len(self), size)]
        # Copies, so that a loss that writes into its logits does not change the next call.
        return [Batch(self.logits[p].copy(), self.targets[p].copy(), reduction, layout=self.layout) for p in parts]

    def take(self, index: Any) -> PresentedRows:
        """Return the rows at these indices, which may be reordered or repeated."""
        places = np.arange(len(self))[index]
        return replace(
            self,
            ids=self.ids[places],
            numbers=self.numbers[places],
            logits=self.logits[places],
            targets=self.targets[places],
            exact=per_row(lambda values: values[places], self.exact),
            weights=None if self.weights is None else self.weights[places],
            distinct=None if self.distinct is None else self.distinct[places],
            row_losses=None if self.row_losses is None else self.row_losses[places],
            origin=None if self.origin is None else replace(self.origin, places=self.origin.places[places]),
        )

    def copied(self, places: Index) -> PresentedRows:
        """Return the rows at these indices, as copies: of each row only the worst copy counts."""
        taken = self.take(places)
        return taken if self.distinct is not None else replace(taken, distinct=places)

    def filled(self, size: int) -> PresentedRows:
        """Return the rows with copies up to ``size`` rows."""
        return self if len(self) >= size else self.copied(np.resize(np.arange(len(self)), size))

    def called(self, call: CallKind) -> PresentedRows:
        """Return the rows for another kind of call."""
        return replace(self, how=replace(self.how, call=call))

    def arranged(self, arrangement: Arrangement, size: int = 0) -> PresentedRows:
        """Return the rows marked with this arrangement."""
        return replace(self, how=replace(self.how, arrangement=arrangement, size=size))


def batches(cases: Sequence[Case], fmt: Format, *, few_shapes: bool = False) -> Iterator[PresentedRows]:
    """Yield the cases that the dtype can hold, in batches of rows of one width.

    With ``few_shapes`` all batches of a width have the same number of rows, except those with a reduction.
    """
    waiting = [group for group in reversed(groups(cases, fmt)) if group.rows]
    sizes: dict[int, int] = {}
    for group in waiting if few_shapes else ():
        if group.reduction == "none":
            sizes[group.classes] = max(sizes.get(group.classes, 0), group.rows)
    while waiting:
        # Removed from the list, so that its exact answers are freed before the next batch.
        batch = _batch(waiting.pop(), fmt)
        yield batch if batch.options.reduced else batch.filled(sizes.get(batch.classes, 0))


def number_of_batches(cases: Sequence[Case], fmt: Format) -> int:
    """Return the number of `batches`."""
    return sum(group.rows > 0 for group in groups(cases, fmt))


def _batch(group: Group, fmt: Format) -> PresentedRows:
    ids = np.repeat(np.array([case.id for case in group.cases], object), [case.rows for case in group.cases])
    options = CallOptions(group.options, group.reduction)
    row_losses = group.row_losses if options.reduced else None
    known = Known(group.logits, fmt, group.exact, options.reduction, row_losses)
    return PresentedRows(
        ids, np.concatenate([np.arange(case.rows) for case in group.cases]), group.logits, group.targets,
        group.exact, fmt, layout=group.cases[0].layout, how=Presentation(options=str(options)), options=options,
        row_losses=row_losses, origin=Origin(known, np.arange(len(ids))),
    )  # fmt: skip
