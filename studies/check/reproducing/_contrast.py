"""The same rows in another presentation that, by a property, must not change the result."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ....oracle import Reference, per_row
from ..batches._again import other_layouts, permuted
from ..batches._presentation import CATALOGUED, OTHER_MEMORY, CallKind, Presentation
from ..batches._reduced import reduced, row_by_row
from ..batches._rows import OTHER_LAYOUTS, PresentedRows
from ..judging._properties import CLASSES, COMPANY, LAYOUT, OFFSET, ORDER

# In these calls nothing is compared with a plain call. After a batch of another dtype a plain call may fail too, since
# the loss keeps what it has computed for the shape.
_ALONE = (
    CallKind.ONCE, CallKind.AGAIN, CallKind.TWICE, CallKind.REPEATED, CallKind.EMPTY, CallKind.AFTER_DTYPE
)  # fmt: skip


class Contrast(NamedTuple):
    """Another presentation: its wording, its rows, and the index of the failing row among them."""

    wording: str
    rows: PresentedRows
    place: int


def on_their_own(rows: PresentedRows) -> PresentedRows:
    """Return the rows as an ordinary batch, with only the kind of call and the memory layout kept."""
    how = Presentation(options=str(rows.options))
    if rows.how.call is not CallKind.ONCE:
        how = Presentation(rows.how.call, times=rows.how.times)
    elif rows.how.arrangement in OTHER_MEMORY or rows.layout in OTHER_LAYOUTS:
        how = Presentation(arrangement=OTHER_LAYOUTS.get(rows.layout, rows.how.arrangement))
    return replace(rows, exact=_of_each_row(rows), how=how, per_call=None, distinct=None, origin=None)


def _of_each_row(rows: PresentedRows) -> Reference:
    """Return the exact answers of each row; those of a tall batch may be of its distinct rows alone."""
    places = rows.distinct
    if places is None:
        return rows.exact
    return per_row(lambda values: values if len(values) == len(rows) else values[places], rows.exact)


def contrasts(rows: PresentedRows, place: int, property_: str | None) -> Iterator[Contrast]:
    """Yield presentations in which the row must be right too, by a property; none if it concerns one presentation."""
    found = None if property_ is None else _BY_PROPERTY.get(property_)
    if found is not None and rows.row_exact is not None:
        each, reduction = row_by_row(rows), rows.options.reduction
        yield from (c._replace(rows=reduced(c.rows, reduction)) for c in found(each, place))
    elif found is not None:
        yield from found(rows, place)
    elif rows.how.call not in _ALONE:
        yield _plainly(rows, place)


def _plainly(rows: PresentedRows, place: int) -> Contrast:
    plain = replace(rows, how=Presentation(options=str(rows.options)), layout="rows", weights=None)
    return Contrast("called once, on rows as they are", plain, place)


def _other_company(rows: PresentedRows, place: int) -> Iterator[Contrast]:
    if len(rows) > 1:
        yield Contrast("the row alone", rows.take([place]), 0)
    else:
        yield Contrast("beside a copy of itself", rows.take([0, 0]), 0)


def _other_order(rows: PresentedRows, place: int) -> Iterator[Contrast]:
    if len(rows) > 1:
        yield Contrast("the rows in reverse order", rows.take(np.s_[::-1]), len(rows) - 1 - place)


def _other_classes(rows: PresentedRows, place: int) -> Iterator[Contrast]:
    order = np.arange(rows.classes)
    yield Contrast("the classes in reverse order", permuted(rows, order[::-1]), place)
    yield Contrast("the classes moved by one", permuted(rows, np.roll(order, 1)), place)


def _other_layout(rows: PresentedRows, place: int) -> Iterator[Contrast]:
    if rows.how != CATALOGUED:
        yield _plainly(rows, place)
        return
    for other in (*other_layouts(rows), *(rows.arranged(arrangement) for arrangement in OTHER_MEMORY)):
        yield Contrast(str(other.how), other, place)


def _other_offset(rows: PresentedRows, place: int) -> Iterator[Contrast]:
    x = rows.logits.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        for end in (np.max, np.min):
            ends = np.array([end(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in x])
            moved = rows.held(x - ends[:, None])
            exactly = (moved.astype(np.float64) + ends[:, None] == x) | ~np.isfinite(x)
            if exactly.all() and ends.any():
                yield Contrast("less a constant", replace(rows, logits=moved), place)


_BY_PROPERTY: dict[str, Callable[[PresentedRows, int], Iterator[Contrast]]] = {
    COMPANY: _other_company,
    ORDER: _other_order,
    CLASSES: _other_classes,
    LAYOUT: _other_layout,
    OFFSET: _other_offset,
}
