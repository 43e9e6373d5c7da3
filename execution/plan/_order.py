"""The order in which the calls of a block are made."""

from collections.abc import Iterable

from ...core.formats import FORMATS
from ._calls import PlannedCall
from ._cells import FIRST_DTYPE

_RANKS = {name: rank for rank, name in enumerate(sorted(FORMATS, key=lambda name: name != FIRST_DTYPE))}


def ordered(calls: Iterable[PlannedCall]) -> list[PlannedCall]:
    """The calls, float32 first, then one dtype after the other; of a dtype one width after the other.

    All implementations see a width before any sees the next, since frameworks that compile keep a program for each
    dtype and shape: a worker may drop those of a width that is finished. Groups of one width keep their order, and so
    do the cells of one group.
    """
    return sorted(calls, key=lambda call: (_RANKS[call.cell.dtype], call.group.cases[0].classes))
