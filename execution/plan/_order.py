"""The order in which the calls of a block run."""

from collections.abc import Iterable

from ...core.formats import table_rank
from ._calls import PlannedCall
from ._cells import FIRST_DTYPE


def ordered(calls: Iterable[PlannedCall]) -> list[PlannedCall]:
    """Return the calls sorted by dtype, float32 first, and then by width.

    All implementations finish a width before the next starts. Frameworks that compile keep a program for each dtype
    and shape, and a worker may drop the programs of a finished width. The sort is stable: the groups of one width and
    the cells of one group keep their order.
    """
    return sorted(calls, key=_key)


def _key(call: PlannedCall) -> tuple[bool, tuple[int, str], int]:
    dtype = call.cell.dtype
    return dtype != FIRST_DTYPE, table_rank(dtype), call.group.cases[0].classes
