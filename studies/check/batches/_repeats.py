"""The batches that are called many times to find a race, and how often."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ._limits import Limits
from ._presentation import CallKind
from ._rows import PresentedRows

RARE = 4603  # calls that show a race of 1 in 1,000 calls with 99 %: log(0.01) / log(0.999)
COMMON = 459  # calls that show a race of 1 in 100 calls with 99 %
FEWEST = 20  # calls of a batch with many logits
SHRUNK_LOGITS = 2**22  # logits of all calls while a batch is shrunk
FREQUENT = 90  # calls that show a race of 1 in 20 calls with 99 %
MAX_CLASSES = 4200  # of a repeated batch: in wider rows a call takes too long


@dataclass(frozen=True)
class Repeat:
    """A batch that is called many times: its classes and rows, and the number of calls."""

    classes: int
    rows: int
    times: int


# Rows and classes of the batches that `repeat` calls; the widths are those of seeded rows.
NARROW, MEDIUM, LARGE = (3, 4), (31, 130), (1024, 1025)


def planned(widths: Collection[int], limits: Limits, *, first_dtype: bool, few_shapes: bool) -> tuple[Repeat, ...]:
    """Return the batches to repeat in a dtype.

    By default a few rows are called `RARE` times in the first dtype, and more rows `COMMON` times. A framework that
    compiles shapes takes longer for each call, and calls the few rows `FREQUENT` times, as a quick check does.

    Args:
        widths: the widths of the cases.
        limits: holds the number of calls that the user asks for.
        first_dtype: whether it is the first dtype of the check.
        few_shapes: whether the framework compiles each shape.
    """
    if limits.repeats is not None:
        near = sorted(width for width in widths if width <= MAX_CLASSES)
        each = [(min(near, key=lambda w: (abs(w - c), w)), rows) for c, rows in (NARROW, MEDIUM, LARGE)] if near else []
        return tuple(Repeat(classes, rows, limits.repeats) for classes, rows in each if limits.repeats > 0)
    if not first_dtype:
        return ()
    narrow = Repeat(*NARROW, FREQUENT if few_shapes or limits.quick else RARE)
    each_by_default = (narrow,) if few_shapes or limits.quick else (narrow, Repeat(*MEDIUM, COMMON))
    return tuple(repeat for repeat in each_by_default if repeat.classes in widths)


def repeated_calls(rows: PresentedRows, plan: Collection[Repeat]) -> Iterator[PresentedRows]:
    """Yield the batches of the plan that hold these rows."""
    if rows.options.names or rows.layout != "rows":
        return
    for repeat in plan:
        if repeat.classes == rows.classes:
            places = np.resize(np.arange(rows.count), repeat.rows)
            yield rows.copied(places).called(CallKind.REPEATED, repeat.times)


def until_it_differs(rows: PresentedRows) -> PresentedRows:
    """Return the rows for as many equal calls as show a rare race, or fewer if there are many logits."""
    times = int(np.clip(SHRUNK_LOGITS // max(rows.logits.size, 1), FEWEST, RARE))
    return replace(rows.called(CallKind.REPEATED, times), weights=None)
