"""The ways to present rows again: what the answer must be is known from the first way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...core.formats import quantize
from ._presentation import Arrangement, CallKind
from ._rows import OTHER_LAYOUTS, PresentedRows

Index = NDArray[np.intp]

SHARE = 0.5  # of each loss in the sum: a number other than 1, as the 1 / B of a mean is
WIDEST = 4200  # classes of the rows that are presented in every way: beyond it little new is met
NARROW = 65  # classes up to which a large batch is tried
LARGE = (1025, 1024)  # rows of one: past the blocks that kernels divide a batch into, and a whole number of them
MILLION = 1025  # classes of which a large batch is a million logits
HUGE = 65_539  # rows past what a grid dimension or 16 bits count, of so few classes:
HUGE_CLASSES = 4
ALONE = 24  # rows of a group that are tried alone
ALONE_WEIGHTED = 4  # and of those that are weighted
# Where each shape is compiled: the widths whose rows are tried alone, in a square batch, and in a large one of so many.
FEW_ALONE = (1, 2, 3, 5, 10, 33, 128, 1025)
FEW_SQUARE = (5, 33)
FEW_LARGE = {5: LARGE[1], 10: LARGE[0], HUGE_CLASSES: HUGE}


def presented_again(rows: PresentedRows, *, few_shapes: bool = False) -> Iterator[PresentedRows]:
    """The rows in ways that do not change what each row's answer is, the quickest first.

    With ``few_shapes`` they keep their number wherever they can: filled up with copies, where there are fewer.
    """
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
        shifted = _shifted(rows, rng)
        yield from (some.filled(len(rows)) for some in shifted) if few_shapes else shifted
        yield from _in_other_batches_of_few_shapes(rows) if few_shapes else _in_other_batches(rows)
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


def _in_other_batches_of_few_shapes(rows: PresentedRows) -> Iterator[PresentedRows]:
    """Halves as large as the whole; and in few widths a row alone, a square batch and a large one."""
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
    """So many rows, those there are again and again, each round in another order."""
    rng = np.random.default_rng([size, rows.classes])
    rounds = -(-size // len(rows))
    places = np.concatenate([rng.permutation(len(rows)) for _ in range(rounds)])[:size]
    return rows.copied(places).arranged(arrangement, size)


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
    origin = None if rows.origin is None else replace(rows.origin, classes=place)
    return replace(rows, logits=rows.logits[:, order], targets=targets, exact=exact, origin=origin)


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
        yield replace(rows.take(kept).arranged(Arrangement.SHIFTED), logits=held[kept], origin=None)
