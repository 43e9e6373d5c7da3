"""The rows of a check: batches of the catalogue's cases, and their presentation to a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ....cases import Case
from ....core.formats import Format
from ....core.rounding import quantize
from ....core.vocabulary import Quantity
from ....execution.plan import Group, groups
from ....frameworks import Batch
from ....grading import Graded, grade
from ....oracle import Exact, Reference, per_row
from ..forms._form import PLAIN_FORM, CallForm
from ..forms._layout import shaped
from ..forms._options import PLAIN, CallOptions
from ._features import Features
from ._known import Known
from ._presentation import CATALOGUED, STRIDED_LOGITS, TARGETS_TAIL, Arrangement, CallKind, Presentation

Array = NDArray[Any]
Index = NDArray[np.intp]
Objects = NDArray[np.object_]
_Found = TypeVar("_Found")

REMEMBERED = 2**16  # numbers of the largest result whose lines are kept
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

    def grade_once(self, quantity: Quantity, computed: Array) -> Graded:
        """Return the grades of a result that no other presentation is expected to repeat."""
        entries = computed if self.classes is None else computed[:, self.classes]
        return self.known.grade_once(quantity, entries, self.places)

    def take(self, index: Any) -> Origin:
        """Return the origin of the rows at these indices."""
        return replace(self, places=self.places[index])


@dataclass(frozen=True, eq=False)
class PresentedRows:
    """A batch of rows of one width with their exact answers.

    Attributes:
        ids: (B,), the name of each row's case.
        numbers: (B,), each row's number in its case.
        logits, targets: (B, C) in the dtype, and (B,); of class probabilities, the most probable class.
        exact: the reference of the rows.
        fmt: the dtype, whose numbers they are and by whose bounds results are graded.
        wider: the dtype of the arrays, if the loss computes in ``fmt`` and is given wider arrays.
        how: the presentation.
        layout: the memory layout, as of a case.
        per_call: the number of rows in a call; None for all of them.
        weights: (B,), the factors of the losses, in the dtype; None for none.
        distinct: (B,), the index of the row that each copies; None if no row is a copy.
        options: the loss options of the call.
        row_losses: the exact losses before the reduction; None without a reduction.
        row_exact: the reference before the reduction, if the loss always returns one number for a batch.
        batch: a name of all rows of the width, if the loss always returns one number for a batch.
        origin: the batch of the catalogue with these rows; None for rows with other numbers.
        shares: (B, C), class probabilities in the dtype; None for class indices.
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
    row_exact: Reference | None = None
    batch: str | None = None
    origin: Origin | None = None
    wider: Format | None = None
    shares: Array | None = None
    _found: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def count(self) -> int:
        """The number of distinct rows, which come before their copies."""
        return len(self) if self.distinct is None else int(self.distinct.max(initial=-1)) + 1

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    @property
    def dtype(self) -> str:
        """The name of the dtype of the arrays."""
        return (self.wider or self.fmt).name

    def held(self, values: NDArray[np.float64]) -> Array:
        """Return numbers rounded like the logits, in the dtype of the arrays."""
        return quantize(values, self.fmt).astype(self.logits.dtype, copy=False)

    @property
    def labels(self) -> Array:
        """The targets: class indices (B,), or class probabilities (B, C)."""
        return self.targets if self.shares is None else self.shares

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """The rows that are ignored: (B,)."""
        ignored = self.options.values.get("ignore_index")
        return np.zeros(len(self), bool) if ignored is None else np.asarray(self.targets == ignored)

    @cached_property
    def has_softmax(self) -> NDArray[np.bool_]:
        """The rows whose softmax is defined: those without NaN and +inf, and not of -inf alone."""
        x = self.logits
        found: NDArray[np.bool_] = ~(np.isnan(x) | (x == np.inf)).any(axis=1) & np.isfinite(x).any(axis=1)
        return found

    @property
    def ignores_undefined(self) -> bool:
        """Whether a row is ignored that has no softmax."""
        ignored = self.ignored
        return bool(ignored.any() and (ignored & ~self.has_softmax).any())

    @cached_property
    def features(self) -> Features:
        """The features of each row."""
        if self.origin is not None:
            return self.origin.known.features.take(self.origin.places)
        return Features.of(self.logits, (self.exact.loss if self.row_losses is None else self.row_losses).hi)

    def grade(self, quantity: Quantity, computed: Array) -> Graded:
        """Return the grades of a result for the rows."""
        if self.wider is not None:  # results beyond the range of the dtype in which the loss computes are infinite
            with np.errstate(over="ignore"):
                computed = computed.astype(self.fmt.dtype)
        if self.origin is not None:
            return self.origin.grade(quantity, computed)
        reduction = self.options.reduction
        return grade(
            quantity, computed, self.logits, self.fmt, self.exact, reduction=reduction, row_losses=self.row_losses
        )

    def once(self, key: Any, results: Sequence[Array], find: Callable[[], _Found]) -> _Found:
        """Return what ``find`` returns, or what it returned for the same bits of the results.

        A failing batch is called ten times, and most losses return the same bits each time.
        """
        if sum(each.size for each in results) > REMEMBERED:
            return find()
        bits = key, *((each.dtype, each.shape, each.tobytes()) for each in results)
        if bits not in self._found:
            self._found[bits] = find()
        found: _Found = self._found[bits]
        return found

    def in_memory(self, form: CallForm = PLAIN_FORM) -> tuple[Array, Array]:
        """Return new logits and targets in the form and the memory layout of the presentation."""
        layout = self.layout if self.layout in LAID else "rows"
        given = shaped(Batch(self.logits.copy(), self.labels.copy(), layout=layout), form)
        x, t = given.in_memory(), given.targets
        if self.how.arrangement in STRIDED_LOGITS:
            x = replace(given, layout="strided").in_memory()
        x = _tail(x) if self.how.arrangement is Arrangement.TAIL else x
        t = _tail(t) if self.how.arrangement in TARGETS_TAIL else t
        if self.how.arrangement is Arrangement.SLICED:
            *before, last, classes = x.shape
            around = np.zeros((*before, last + 1, classes + 5), x.dtype)
            around[..., 1:, 3:-2] = x
            x = around[..., 1:, 3:-2]
        if self.how.arrangement in (Arrangement.EVERY_OTHER, Arrangement.BOTH_STRIDED):
            t = np.repeat(t, 2, axis=-1)
            t[..., 1::2] = (t[..., 1::2] + 1) % max(self.classes, 1)
            t = t[..., ::2]
        return x, t.astype(np.int32) if self.how.call is CallKind.INT32 else t

    @property
    def batches(self) -> list[Batch]:
        """The batches of the calls."""
        size, reduction = self.per_call or len(self), self.options.reduction
        parts = [slice(i, i + size) for i in range(0, len(self), size)]
        # Copies, so that a loss that writes into its logits does not change the next call.
        return [Batch(self.logits[p].copy(), self.labels[p].copy(), reduction, layout=self.layout) for p in parts]

    def take(self, index: Any) -> PresentedRows:
        """Return the rows at these indices, which may be reordered or repeated."""
        places = np.arange(len(self))[index]
        return replace(
            self,
            ids=self.ids[places],
            numbers=self.numbers[places],
            logits=self.logits[places],
            targets=self.targets[places],
            exact=per_row(lambda values: values[places] if len(values) == len(self) else values, self.exact),
            weights=None if self.weights is None else self.weights[places],
            distinct=None if self.distinct is None else self.distinct[places],
            row_losses=None if self.row_losses is None else self.row_losses[places],
            row_exact=None if self.row_exact is None else per_row(lambda values: values[places], self.row_exact),
            origin=None if self.origin is None else self.origin.take(places),
            shares=None if self.shares is None else self.shares[places],
        )

    def copied(self, places: Index) -> PresentedRows:
        """Return the rows at these indices, as copies: of each row only the worst copy counts."""
        taken = self.take(places)
        return taken if self.distinct is not None else replace(taken, distinct=places)

    def tall(self, places: Index) -> PresentedRows:
        """Return the rows of the catalogue at these indices as copies, for a batch of many wide rows.

        The exact probabilities and gradients stay those of the distinct rows, which grade the copies too: an array of
        the whole batch would take gigabytes.
        """
        exact = per_row(lambda values: values[places] if values.ndim == 1 else values, self.exact)
        return replace(
            self,
            ids=self.ids[places],
            numbers=self.numbers[places],
            logits=self.logits[places],
            targets=self.targets[places],
            exact=exact,
            distinct=places if self.distinct is None else self.distinct[places],
            origin=None if self.origin is None else self.origin.take(places),
        )

    def filled(self, size: int) -> PresentedRows:
        """Return the rows with copies up to ``size`` rows."""
        return self if len(self) >= size else self.copied(np.resize(np.arange(len(self)), size))

    def called(self, call: CallKind, times: int = 0) -> PresentedRows:
        """Return the rows for another kind of call, or for a number of equal calls."""
        return replace(self, how=replace(self.how, call=call, times=times))

    def arranged(self, arrangement: Arrangement, size: int = 0) -> PresentedRows:
        """Return the rows marked with this arrangement."""
        return replace(self, how=replace(self.how, arrangement=arrangement, size=size))


def _tail(values: Array) -> Array:
    """Return a copy that lies after one more row in memory."""
    return np.concatenate([np.zeros_like(values[:1]), values])[1:]


def batches(
    cases: Sequence[Case], fmt: Format, *, few_shapes: bool = False, internal: Format | None = None
) -> Iterator[PresentedRows]:
    """Yield the cases that the dtype can hold, in batches of rows of one width.

    With ``few_shapes`` all batches of a width have the same number of rows, except those with a reduction. A loss may
    compute in an ``internal`` dtype. The numbers of a more precise one are then rounded to it first.
    """
    inner = _inner(fmt, internal)
    waiting = [group for group in reversed(groups(_rounded(cases, inner), fmt)) if group.rows]
    sizes: dict[int, int] = {}
    for group in waiting if few_shapes else ():
        if group.reduction == "none":
            sizes[group.classes] = max(sizes.get(group.classes, 0), group.rows)
    while waiting:
        # Removed from the list, so that its exact answers are freed before the next batch.
        batch = _batch(waiting.pop(), inner or fmt)
        batch = batch if inner is None else replace(batch, wider=fmt)
        yield batch if batch.options.reduced else batch.filled(sizes.get(batch.classes, 0))


def number_of_batches(cases: Sequence[Case], fmt: Format, *, internal: Format | None = None) -> int:
    """Return the number of `batches`."""
    return sum(group.rows > 0 for group in groups(_rounded(cases, _inner(fmt, internal)), fmt))


def _inner(fmt: Format, internal: Format | None) -> Format | None:
    return internal if internal is not None and internal.precision < fmt.precision else None


def _rounded(cases: Sequence[Case], inner: Format | None) -> Sequence[Case]:
    """Return the cases that a dtype can hold, with their numbers rounded to it."""
    if inner is None:
        return cases
    return [
        replace(case, logits=quantize(case.logits, inner).astype(np.float64), **_rounded_others(case, inner))
        for case in cases
        if inner.name in case.dtypes
    ]


def _rounded_others(case: Case, inner: Format) -> dict[str, Any]:
    """Return the options and the class probabilities rounded to a dtype."""
    values = dict(case.options(inner))
    if case.targets.ndim == 2:
        values["targets"] = case.quantized_targets(inner)
    return {name: v.astype(np.float64) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def _batch(group: Group, fmt: Format) -> PresentedRows:
    ids = np.repeat(np.array([case.id for case in group.cases], object), [case.rows for case in group.cases])
    options = CallOptions(group.options, group.reduction)
    row_losses = group.row_losses if options.reduced else None
    soft = group.targets.ndim == 2
    targets = group.targets.argmax(axis=1) if soft else group.targets
    known = Known(group.logits, fmt, group.exact, options.reduction, row_losses)
    return PresentedRows(
        ids, np.concatenate([np.arange(case.rows) for case in group.cases]), group.logits, targets,
        group.exact, fmt, layout=group.cases[0].layout, how=Presentation(options=str(options)), options=options,
        row_losses=row_losses, origin=Origin(known, np.arange(len(ids))), shares=group.targets if soft else None,
    )  # fmt: skip
