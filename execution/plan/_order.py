"""The order in which the calls of a block run."""

from collections.abc import Iterable

from ...core.formats import FORMATS
from ._calls import PlannedCall
from ._cells import FIRST_DTYPE

_RANKS = {name: rank for rank, name in enumerate(sorted(FORMATS, key=lambda name: name != FIRST_DTYPE))}


def ordered(calls: Iterable[PlannedCall]) -> list[PlannedCall]:
    """Return the calls sorted by dtype, float32 first, and then by width.

    All implementations finish a width before the next starts. Frameworks that compile keep a program for each dtype
    and shape, and a worker may drop the programs of a finished width. The sort is stable: the groups of one width and
    the cells of one group keep their order.
    """
    return sorted(calls, key=lambda call: (_RANKS[call.cell.dtype], call.group.cases[0].classes))
