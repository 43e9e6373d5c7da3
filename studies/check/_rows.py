"""Rows to be tried, and the ways to present them again: what the answer must be is known from the first way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cases import Case
from ...core.formats import Format, quantize
from ...execution.plan import groups
from ...frameworks import Batch
from ...oracle import Exact, Reference, per_row
from ._options import PLAIN, CallOptions
from ._presentation import CATALOGUED, Arrangement, CallKind, Presentation

Array = NDArray[Any]
Index = NDArray[np.intp]

OTHER_LAYOUTS = {"transposed": Arrangement.TRANSPOSED, "strided": Arrangement.STRIDED}
LAID = ("rows", *OTHER_LAYOUTS)  # layouts that the adapters make

SHARE = 0.5  # of each loss in the sum: a number other than 1, as the 1 / B of a mean is
WIDEST = 4200  # classes of the rows that are presented in every way: beyond it little new is met
NARROW = 65  # classes up to which a large batch is tried
LARGE = (1025, 1024)  # rows of one: past the blocks that kernels divide a batch into, and a whole number of them
MILLION = 1025  # classes of which a large batch is a million logits
HUGE = 65_539  # rows past what a grid dimension or 16 bits count, of so few classes:
HUGE_CLASSES = 4
ALONE = 24  # rows of a group that are tried alone
ALONE_WEIGHTED = 4  # and of those that are weighted


@dataclass(frozen=True, eq=False)
class PresentedRows:
    """A batch of rows of one width with their exact answers.

    Attributes:
        cases: (B,), the case of each row.
        numbers: (B,), each row's number in its case.
        logits, targets: (B, C) in the dtype, and (B,).
        exact: the reference of the rows.
        fmt: the dtype.
        how: the way they are presented.
        layout: as of a case.
        per_call: how many rows the loss is given at once; None for all of them.
        weights: (B,), the factors of the losses, in the dtype; None for none.
        distinct: (B,), the number of the row that each is a copy of; None where each counts.
        options: the loss options that they are given with.
        row_losses: the exact losses before they are reduced; None where they are not.
    """

    cases: tuple[Case, ...]
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

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """(B,), the name of each row's case."""
        return np.array([case.id for case in self.cases], object)

    def in_memory(self) -> tuple[Array, Index]:
        """New logits and targets, as they are to lie in memory."""
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
        """What the loss is given, call after call."""
        size, reduction = self.per_call or len(self), self.options.reduction
        parts = [slice(i, i + size) for i in range(0, len(self), size)]
        # Copies: a loss that writes into its logits must not change what is measured next.
        return [Batch(self.logits[p].copy(), self.targets[p].copy(), reduction, layout=self.layout) for p in parts]

    def take(self, index: Any) -> PresentedRows:
        """Some of the rows, in another order or several times."""
        places = np.arange(len(self))[index]
        return replace(
            self,
            cases=tuple(self.cases[i] for i in places),
            numbers=self.numbers[places],
            logits=self.logits[places],
            targets=self.targets[places],
            exact=per_row(lambda values: values[places], self.exact),
            weights=None if self.weights is None else self.weights[places],
            distinct=None if self.distinct is None else self.distinct[places],
            row_losses=None if self.row_losses is None else self.row_losses[places],
        )

    def called(self, call: CallKind) -> PresentedRows:
        """The rows in another kind of call."""
        return replace(self, how=replace(self.how, call=call))

    def arranged(self, arrangement: Arrangement, size: int = 0) -> PresentedRows:
        """The rows, which have been arranged so."""
        return replace(self, how=replace(self.how, arrangement=arrangement, size=size))


def batches(cases: Sequence[Case], fmt: Format) -> Iterator[PresentedRows]:
    """The cases that the dtype can hold, rows of one width together."""
    for group in groups(cases, fmt):
        owners = tuple(case for case in group.cases for _ in range(case.rows))
        numbers = np.concatenate([np.arange(case.rows) for case in group.cases])
        if owners:
            options = CallOptions(group.options, group.reduction)
            yield PresentedRows(
                owners, numbers, group.logits, group.targets, group.exact, fmt, layout=group.cases[0].layout,
                how=Presentation(options=str(options)), options=options,
                row_losses=group.row_losses if options.reduced else None,
            )  # fmt: skip


# --- the same rows in other ways --------------------------------------------------------------------------------


def presented_again(rows: PresentedRows) -> Iterator[PresentedRows]:
    """The rows in ways that do not change what each row's answer is, the quickest first."""
    if rows.options.names:
        yield rows.called(CallKind.AGAIN)
        yield _of_half_the_loss(rows) if rows.options.reduced else weighted(rows)
        return
    yield rows.called(CallKind.AGAIN)
    if rows.classes <= WIDEST and rows.layout == "rows":
        yield from (rows.called(call) for call in (CallKind.UNTRACKED, CallKind.BETWEEN))
        yield from (rows.arranged(arrangement) for arrangement in (Arrangement.SLICED, Arrangement.EVERY_OTHER))
        yield from other_layouts(rows)
        rng = np.random.default_rng([0, rows.classes])
        yield permuted(rows, rng.permutation(rows.classes)).arranged(Arrangement.PERMUTED)
        yield from _shifted(rows, rng)
        yield from _in_other_batches(rows)
        yield replace(rows.called(CallKind.TWICE), weights=np.full(len(rows), 2, rows.logits.dtype))
        yield _of_half_the_loss(rows)
    yield weighted(rows)


def _of_half_the_loss(rows: PresentedRows) -> PresentedRows:
    return replace(rows.called(CallKind.SUMMED), weights=np.full(len(rows), SHARE, rows.logits.dtype))


def other_layouts(rows: PresentedRows) -> Iterator[PresentedRows]:
    """The rows in the other layouts that adapters make."""
    yield from (replace(rows.arranged(arrangement), layout=layout) for layout, arrangement in OTHER_LAYOUTS.items())


def weighted(rows: PresentedRows) -> PresentedRows:
    """Upstream gradients of all kinds, of which another comes first in each width."""
    # By the width's place in a fixed order: a batch of one has the first alone.
    # Beyond 1, as losses are scaled for mixed precision, and below, as a mean does it.
    large = 2.0**17 if rows.fmt.largest > 2.0**17 else 2.0**13
    kinds = np.array([1.0, -1.0, large, 4 / 3, 0.0, 2.0**-10, -2.5, 0.5, np.nan, 2.0, -large, -1 / 3, 8.0])
    factors = np.resize(np.roll(kinds, -(rows.classes % len(kinds))), len(rows))
    # What has no gradient is not multiplied by what leaves none, nor a row that is ignored.
    plain = ~(rows.exact.defined & np.isfinite(rows.exact.gradient.hi).all(axis=1)) | (rows.exact.mass == 0)
    factors[plain & ~(np.isfinite(factors) & (factors != 0))] = 1.0
    return replace(rows.called(CallKind.WEIGHTED), weights=quantize(factors, rows.fmt))


def _in_other_batches(rows: PresentedRows) -> Iterator[PresentedRows]:
    if len(rows) > 1:
        yield rows.take(np.s_[::-1]).arranged(Arrangement.REVERSED)
        yield replace(rows.arranged(Arrangement.HALVES), per_call=-(-len(rows) // 2))
    few = np.linspace(0, len(rows) - 1, min(ALONE, len(rows)), dtype=int)
    alone = replace(rows.take(few).arranged(Arrangement.ALONE), per_call=1)
    yield alone
    yield weighted(alone.take(np.s_[:ALONE_WEIGHTED]))
    if rows.classes <= NARROW:
        yield _repeated(rows, rows.classes, Arrangement.SQUARE)
        large = _repeated(rows, LARGE[rows.classes % 2], Arrangement.LARGE)
        yield large
        yield weighted(large)
    elif rows.classes == MILLION:
        yield _repeated(rows, LARGE[0], Arrangement.LARGE)
    if rows.classes == HUGE_CLASSES:
        yield _repeated(rows, HUGE, Arrangement.LARGE)


def _repeated(rows: PresentedRows, size: int, arrangement: Arrangement) -> PresentedRows:
    """So many rows, those there are again and again, each round in another order."""
    rng = np.random.default_rng([size, rows.classes])
    rounds = -(-size // len(rows))
    places = np.concatenate([rng.permutation(len(rows)) for _ in range(rounds)])[:size]
    return replace(rows.take(places).arranged(arrangement, size), distinct=places)


def permuted(rows: PresentedRows, order: Index) -> PresentedRows:
    """The rows with their classes in another order."""
    place, exact = np.argsort(order), rows.exact
    sole = exact.sole_target
    exact = replace(
        exact,
        probabilities=exact.probabilities[:, order],
        gradient=exact.gradient[:, order],
        sole_target=np.where(sole < 0, sole, place[sole]),
        inner=None if exact.inner is None else exact.inner[:, order],
    )
    targets = place[rows.targets].astype(np.int64)
    return replace(rows, logits=rows.logits[:, order], targets=targets, exact=exact)


def _shifted(rows: PresentedRows, rng: np.random.Generator) -> Iterator[PresentedRows]:
    """The rows to which a constant can be added without rounding, and to which it has been; if there are any.

    The exact answers stay what they are, which no other change of the numbers lets them.
    """
    x = rows.logits.astype(np.float64)
    largest = np.where(np.isfinite(x), np.abs(x), 0.0).max(axis=1, initial=0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = 2.0 ** np.ceil(np.log2(np.maximum(largest, 1.0)))
        constant = scale * rng.choice([-2.0, -1.0, 1.0, 2.0, 4.0], size=len(x))
        moved = x + constant[:, None]
        held = quantize(moved, rows.fmt)
        back = held.astype(np.float64) - constant[:, None]
        exactly = ((back == x) & (held.astype(np.float64) == moved)) | ~np.isfinite(x)
    kept = np.flatnonzero(exactly.all(axis=1) & np.isfinite(x).any(axis=1))
    if kept.size:
        yield replace(rows.take(kept).arranged(Arrangement.SHIFTED), logits=held[kept])
