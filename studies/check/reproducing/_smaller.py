"""Fewer rows, fewer classes and other numbers of a failing batch, with their exact answers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....oracle import Reference, per_row, reference
from ..batches._reduced import reduced, row_by_row
from ..batches._rows import PresentedRows

Array = NDArray[Any]


def plain_numbers(rows: PresentedRows) -> Iterator[Array]:
    """Yield logits with few distinct values: zeros beside the masks, then also the target's and the largest logit."""
    x = rows.logits.astype(np.float64)
    zeros = np.where(np.isfinite(x), 0.0, x)
    yield zeros
    each = np.arange(len(x))
    largest = np.where(np.isfinite(x), x, -np.inf).argmax(axis=1)
    targets = np.where((rows.targets >= 0) & (rows.targets < rows.classes), rows.targets, 0)
    some = zeros.copy()
    some[each, largest], some[each, targets] = x[each, largest], x[each, targets]
    yield some


def some_rows(rows: PresentedRows, index: Any) -> PresentedRows:
    """Return some of the rows with their exact answer."""
    if rows.row_exact is not None:
        return reduced(row_by_row(rows).take(index), rows.options.reduction)
    fewer = rows.take(index)
    return fewer if not rows.options.reduced else with_logits(fewer, fewer.logits.astype(np.float64))


def some_classes(rows: PresentedRows, kept: NDArray[np.intp]) -> PresentedRows:
    """Return the rows with some of their classes and their exact answer."""
    values = dict(rows.options.values)
    if "weight" in values:
        values["weight"] = values["weight"][kept]
    place = np.full(rows.classes, -1)
    place[kept] = np.arange(len(kept))
    inside = (rows.targets >= 0) & (rows.targets < rows.classes)
    targets = np.where(inside, place[np.where(inside, rows.targets, 0)], rows.targets)
    ignored = values.get("ignore_index")
    if ignored is not None and 0 <= ignored < rows.classes:
        # An ignored index that is a target is kept as a class; any other becomes -100.
        values["ignore_index"] = int(place[ignored]) if place[ignored] >= 0 else -100
    shares = None if rows.shares is None else rows.shares[:, kept]
    options = replace(rows.options, values=values)
    fewer = replace(rows, targets=targets.astype(np.int64), options=options, shares=shares)
    return with_logits(fewer, rows.logits[:, kept].astype(np.float64))


def with_logits(rows: PresentedRows, logits: NDArray[np.float64]) -> PresentedRows:
    """Return the rows with other logits and their exact answer."""
    other = replace(rows, logits=rows.held(logits))
    if not other.options.reduced:
        return replace(other, exact=_exact(other))
    each = replace(other, options=replace(other.options, reduction="none"))
    if other.row_exact is not None:
        return reduced(replace(each, exact=_exact(each)), other.options.reduction)
    whole = reference(other.logits, other.labels, reduction=other.options.reduction, keep=False, **other.options.values)
    return replace(other, exact=whole, row_losses=_exact(each).loss)


def _exact(rows: PresentedRows) -> Reference:
    """Return the exact answer, computed once for equal rows."""
    first, copies = distinct(rows)
    few = reference(rows.logits[first], rows.labels[first], keep=False, **rows.options.values)
    return per_row(lambda values: values[copies], few)


def distinct(rows: PresentedRows) -> tuple[list[int], NDArray[np.intp]]:
    """Return the indices of the distinct rows, and for each row the index among them."""
    kinds: dict[bytes, int] = {}
    first: list[int] = []
    number = np.empty(len(rows), np.intp)
    for i in range(len(rows)):
        number[i] = kinds.setdefault(rows.logits[i].tobytes() + rows.labels[i].tobytes(), len(first))
        if number[i] == len(first):
            first.append(i)
    return first, number
