"""The kinds of call that are tried on a few narrow batches: other targets, transformations, threads, no rows at all."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ._presentation import MEMORY_OF_BOTH, CallKind
from ._rows import PresentedRows

# The widths of these calls, which depend on the code of a loss more than on its numbers; and those for compiled shapes.
WIDTHS = (5, 33)
FEW_WIDTHS = (5,)
ROWS_UNDER_VMAP = 2  # each row is mapped beside another one
# Under autocast a sum of many terms may be held in bfloat16, which stays at 256 when ones are added.
LONG_SUM = 1000
# In these calls a loss may raise: the report shows its message, and nothing fails.
REFUSABLE = frozenset(
    {CallKind.INT32, CallKind.EMPTY, CallKind.VMAP, CallKind.GRAD, CallKind.JVP, CallKind.SECOND}
)  # fmt: skip
ON_THE_ROWS = (
    CallKind.INT32, CallKind.INFERENCE, CallKind.AUTOCAST, CallKind.VMAP, CallKind.GRAD, CallKind.JVP, CallKind.SECOND,
    CallKind.THREADS,
)  # fmt: skip


def other_calls(rows: PresentedRows, weighted: PresentedRows, *, few_shapes: bool) -> Iterator[PresentedRows]:
    """Yield the rows in other kinds of call if they have one of a few widths; ``weighted`` has upstream gradients."""
    if rows.classes == LONG_SUM:
        yield rows.called(CallKind.AUTOCAST)
    if rows.classes not in (FEW_WIDTHS if few_shapes else WIDTHS):
        return
    yield from (rows.arranged(arrangement) for arrangement in MEMORY_OF_BOTH)
    yield from (rows.called(call) for call in ON_THE_ROWS)
    yield weighted.called(CallKind.APART)
    yield rows.take(np.s_[:1]).called(CallKind.EMPTY)  # the row stands for the case in the table


def without_rows(rows: PresentedRows) -> PresentedRows:
    """Return an empty batch of the same width."""
    return replace(rows.take(np.s_[:0]), distinct=None)
