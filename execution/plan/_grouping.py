"""Group the cases of a block, so that compilers see few shapes."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from ...cases import Case
from ...core.formats import Format
from ...core.vocabulary import OracleKind, Problem
from ._groups import Group
from ._linear_groups import LinearGroup

# The most logits of a call; a device holds a few arrays of that size during a call.
MAX_LOGITS = 2**22
# The most logits of a batch that is filled to a common number of rows. With 17 classes or more, XLA sums a row in an
# order that depends on the number of rows.
MAX_FILLED_LOGITS = 2**12


def single_group(case: Case, fmt: Format, oracle: OracleKind = OracleKind.BALLS) -> Group:
    """Return the group of one case alone."""
    kind = LinearGroup if case.problem is Problem.LINEAR else Group
    return kind((case,), fmt, oracle)


def groups(cases: Iterable[Case], fmt: Format, oracle: OracleKind = OracleKind.BALLS) -> tuple[Group, ...]:
    """Return the cases that the format can hold, grouped so that compilers see few shapes.

    Plain cases of equal width form a group. Each group has a number of rows that it can be filled up to. Each case
    of the linear problem is a separate group.
    """
    fitting = [c for c in cases if c.is_measured_in(fmt.name)]
    held = [c for c in fitting if c.problem is Problem.LOGITS]
    linear = [single_group(c, fmt, oracle) for c in fitting if c.problem is Problem.LINEAR]
    rows = sorted((c for c in held if c.plain), key=lambda c: c.classes)
    stacked = [Group(few, fmt, oracle) for _, same in groupby(rows, key=lambda c: c.classes) for few in _within(same)]
    together = (*stacked, *(single_group(c, fmt, oracle) for c in held if not c.plain))
    common = _common_rows(together)
    return (*(replace(group, common_rows=common[group.classes]) for group in together), *linear)


def _common_rows(built: Iterable[Group]) -> dict[int, int]:
    """Return for each width the number of rows that its groups can be filled up to.

    It is the number of rows of the largest group of any width if that gives few logits, and else of the largest group
    of that width.
    """
    most: dict[int, int] = {}
    for group in built:
        most[group.classes] = max(group.rows, most.get(group.classes, 0))
    largest = max((rows for width, rows in most.items() if width * rows <= MAX_FILLED_LOGITS), default=0)
    return {w: largest if w * largest <= MAX_FILLED_LOGITS else rows for w, rows in most.items()}


def _within(cases: Iterable[Case]) -> Iterator[tuple[Case, ...]]:
    """Yield the cases in lots of at most `MAX_LOGITS` logits, or of one case."""
    lot: list[Case] = []
    for case in cases:
        if lot and sum(c.logits.size for c in lot) + case.logits.size > MAX_LOGITS:
            yield tuple(lot)
            lot = []
        lot.append(case)
    yield tuple(lot)
