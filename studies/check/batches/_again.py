"""Other presentations of rows, whose exact answers follow from the first one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ._calls import WIDTHS, other_calls
from ._presentation import Arrangement, CallKind
from ._rows import OTHER_LAYOUTS, PresentedRows

Index = NDArray[np.intp]

SHARE = 0.5  # the factor of each loss in a sum: other than 1, like the 1 / B of a mean
WIDEST = 4200  # the most classes of rows in every presentation; wider rows show little more
NARROW = 65  # the most classes for which a large batch is tried
LARGE = (1025, 1024)  # rows of a large batch: one past a kernel's blocks, and a whole number of blocks
MILLION = 1025  # the classes for which a large batch has a million logits
TALL = {8193: 1025, 65_537: 129}  # rows of a large batch of wide rows, by width: one past blocks of 32 to 1,024 rows
HUGE = 65_539  # rows beyond a grid dimension and 16 bits, tried with this number of classes:
HUGE_CLASSES = 4
ALONE = 24  # rows of a group that are tried alone
ALONE_WEIGHTED = 4  # rows tried alone that are also weighted
# For compiled shapes: the widths tried alone, in a square batch, and in a large batch with its number of rows.
FEW_ALONE = (1, 2, 3, 5, 10, 33, 128, 1025)
FEW_SQUARE = (5, 33)
FEW_LARGE = {5: LARGE[1], 10: LARGE[0], HUGE_CLASSES: HUGE}
FEW_TALL = {65_537: 33}
REDUCED_TALL = (65_537, 33)  # classes and rows for a loss that returns one number: more than 2**21 logits
# The widths tried after a batch of another dtype, and with few shapes.
AFTER_DTYPE, FEW_AFTER_DTYPE = (5, 33, 1025), (5,)


def presented_again(rows: PresentedRows, *, few_shapes: bool = False) -> Iterator[PresentedRows]:
    """Yield the rows in presentations that do not change each row's exact answer, the fastest first.

    With ``few_shapes`` the number of rows is kept where possible; fewer rows are filled up with copies.
    """
    if rows.options.names or rows.options.reduced:
        yield rows.called(CallKind.AGAIN)
        if rows.options.reduced or rows.classes in WIDTHS:
            yield _of_half_the_loss(rows)
        if not rows.options.reduced:
            yield weighted(rows)
        return
    yield rows.called(CallKind.AGAIN)
    if rows.classes <= WIDEST and rows.layout == "rows":
        yield from (rows.called(call) for call in (CallKind.UNTRACKED, CallKind.BETWEEN))
        yield from (rows.arranged(arrangement) for arrangement in (Arrangement.SLICED, Arrangement.EVERY_OTHER))
        yield from other_layouts(rows)
        yield from other_calls(rows, weighted(rows), few_shapes=few_shapes)
        rng = np.random.default_rng([0, rows.classes])
        yield permuted(rows, rng.permutation(rows.classes)).arranged(Arrangement.PERMUTED)
        shifted = _shifted(rows, rng)
        yield from (some.filled(len(rows)) for some in shifted) if few_shapes else shifted
        yield from _in_other_batches_of_few_shapes(rows) if few_shapes else _in_other_batches(rows)
        yield replace(rows.called(CallKind.TWICE), weights=np.full(len(rows), 2, rows.logits.dtype))
        yield _of_half_the_loss(rows)
        if rows.classes in (FEW_AFTER_DTYPE if few_shapes else AFTER_DTYPE):
            yield _in_a_new_shape(rows).called(CallKind.AFTER_DTYPE)
    yield weighted(rows)


def _of_half_the_loss(rows: PresentedRows) -> PresentedRows:
    return replace(rows.called(CallKind.SUMMED), weights=np.full(len(rows), SHARE, rows.logits.dtype))


def other_layouts(rows: PresentedRows) -> Iterator[PresentedRows]:
    """Yield the rows in the other layouts that adapters support."""
    yield from (replace(rows.arranged(arrangement), layout=layout) for layout, arrangement in OTHER_LAYOUTS.items())


def weighted(rows: PresentedRows) -> PresentedRows:
    """Return the rows with upstream gradients of all kinds; which comes first depends on the width."""
    # A batch of one row gets only the first factor, so widths start at different factors. Factors are above 1, as in
    # loss scaling, and below 1, as in a mean.
    large = 2.0**17 if rows.fmt.largest > 2.0**17 else 2.0**13
    kinds = np.array([1.0, -1.0, large, 4 / 3, 0.0, 2.0**-10, -2.5, 0.5, np.nan, 2.0, -large, -1 / 3, 8.0])
    factors = np.resize(np.roll(kinds, -(rows.classes % len(kinds))), len(rows))
    # A row without a gradient, or an ignored row, gets no factor that is 0 or not finite.
    plain = ~(rows.exact.defined & np.isfinite(rows.exact.gradient.hi).all(axis=1)) | (rows.exact.mass == 0)
    factors[plain & ~(np.isfinite(factors) & (factors != 0))] = 1.0
    return replace(rows.called(CallKind.WEIGHTED), weights=rows.held(factors))


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


def _in_other_batches_of_few_shapes(rows: PresentedRows) -> Iterator[PresentedRows]:
    """Yield halves filled up to the size of the whole; and for a few widths single rows, a square and a large batch."""
    size = len(rows)
    yield rows.take(np.s_[::-1]).arranged(Arrangement.REVERSED)
    if rows.count > 1:
        halves = np.array_split(np.arange(rows.count), 2)
        places = np.concatenate([np.resize(half, size) for half in halves])
        yield replace(rows.copied(places).arranged(Arrangement.HALVES), per_call=size)
    if rows.classes in FEW_ALONE:
        few = np.linspace(0, rows.count - 1, min(ALONE, rows.count), dtype=int)
        alone = replace(rows.take(few).arranged(Arrangement.ALONE), per_call=1)
        yield alone
        yield weighted(alone.take(np.s_[:ALONE_WEIGHTED]))
    if rows.classes in FEW_SQUARE:
        yield _repeated(rows, rows.classes, Arrangement.SQUARE)
    if rows.classes in FEW_LARGE:
        large = _repeated(rows, FEW_LARGE[rows.classes], Arrangement.LARGE)
        yield large
        yield weighted(large)


def _repeated(rows: PresentedRows, size: int, arrangement: Arrangement) -> PresentedRows:
    """Return a batch of ``size`` copies of the rows, each round in another order."""
    return rows.copied(_shuffled(rows, size)).arranged(arrangement, size)


def tall_batches(rows: PresentedRows, *, few_shapes: bool = False) -> Iterator[PresentedRows]:
    """Yield a batch of many wide rows, if there is one of this width."""
    plain = rows.layout == "rows" and not rows.options.names
    size = (FEW_TALL if few_shapes else TALL).get(rows.classes)
    if plain and size is not None:
        yield rows.tall(_shuffled(rows, size)).arranged(Arrangement.LARGE, size)


def tall_with_answers(rows: PresentedRows) -> Iterator[PresentedRows]:
    """Yield a smaller batch of many wide rows with all its exact answers, for a loss that returns one number."""
    if rows.classes == REDUCED_TALL[0]:
        yield _repeated(rows, REDUCED_TALL[1], Arrangement.LARGE)


def _in_a_new_shape(rows: PresentedRows) -> PresentedRows:
    """Return the rows filled up to a size that no other presentation has."""
    return rows.copied(np.resize(np.arange(len(rows)), 2 * len(rows) + 3))


def _shuffled(rows: PresentedRows, size: int) -> Index:
    rng = np.random.default_rng([size, rows.classes])
    rounds = -(-size // len(rows))
    return np.concatenate([rng.permutation(len(rows)) for _ in range(rounds)])[:size]


def permuted(rows: PresentedRows, order: Index) -> PresentedRows:
    """Return the rows with their classes in another order."""
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
    origin = None if rows.origin is None else replace(rows.origin, classes=place)
    shares = None if rows.shares is None else rows.shares[:, order]
    return replace(rows, logits=rows.logits[:, order], targets=targets, exact=exact, origin=origin, shares=shares)


def _shifted(rows: PresentedRows, rng: np.random.Generator) -> Iterator[PresentedRows]:
    """Yield the rows to which a constant can be added without rounding, with the constant added, if there are any.

    This is the only change of the numbers that does not change the exact answers.
    """
    x = rows.logits.astype(np.float64)
    largest = np.where(np.isfinite(x), np.abs(x), 0.0).max(axis=1, initial=0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = 2.0 ** np.ceil(np.log2(np.maximum(largest, 1.0)))
        constant = scale * rng.choice([-2.0, -1.0, 1.0, 2.0, 4.0], size=len(x))
        moved = x + constant[:, None]
        held = rows.held(moved)
        back = held.astype(np.float64) - constant[:, None]
        exactly = ((back == x) & (held.astype(np.float64) == moved)) | ~np.isfinite(x)
    kept = np.flatnonzero(exactly.all(axis=1) & np.isfinite(x).any(axis=1))
    if kept.size:
        yield replace(rows.take(kept).arranged(Arrangement.SHIFTED), logits=held[kept], origin=None)
