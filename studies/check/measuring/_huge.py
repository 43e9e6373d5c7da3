"""One call with more than 2**31 logits, which shows offsets that overflow 32-bit integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from ....core.errors import UsageError
from ....core.formats import Format, get_format
from ....core.vocabulary import Quantity, Status
from ....frameworks import Batch
from ..batches._known import rows_differ
from ..batches._presentation import Argument, Arrangement
from ..batches._rows import PresentedRows, batches
from ..batches._seeded import SEEDED, seeded_cases
from ..forms._form import CallForm, Returns
from ._lines import Lines, grade_ranks, worst_copies
from ._loss import Candidate
from ._measure import measure

Array = NDArray[Any]

ROWS, CLASSES = 65_537, 32_769  # 2**31 + 98,305 logits
COPIES = 5  # of the logits that memory must hold: the logits, their gradient, and what a loss keeps for it
TOGETHER = 2**24  # logits that are written or compared together


def require_huge(form: CallForm, dtypes: Sequence[str]) -> None:
    """Raise a UsageError if the loss cannot be called with the huge batch in the narrowest of the dtypes.

    Raises:
        UsageError: for a loss of the batch, or with the memory that is needed and the memory that is available.
    """
    if form.returns is not Returns.ROWS:
        raise UsageError(f"a huge batch needs row losses, but the loss returns a {form.returns}; leave out --huge")
    fmt = narrowest(dtypes)
    needed, available = COPIES * ROWS * CLASSES * fmt.dtype.itemsize, psutil.virtual_memory().available
    if available < needed:
        raise UsageError(
            f"a huge batch of {ROWS:,} x {CLASSES:,} logits in {fmt.name} needs about {needed / 1e9:.0f} GB of memory, "
            f"but {available / 1e9:.0f} GB are available; use a larger machine or leave out --huge"
        )


def narrowest(dtypes: Sequence[str]) -> Format:
    """Return the dtype that takes the least memory."""
    return min((get_format(dtype) for dtype in dtypes), key=lambda fmt: fmt.dtype.itemsize)


def huge_batch(candidate: Candidate, dtypes: Sequence[str]) -> Iterator[list[Lines]]:
    """Yield the lines of a few wide rows, and of one batch of many copies of them."""
    cases = [case for case in seeded_cases() if case.id == f"{SEEDED}width_{CLASSES}"]
    for few in batches(cases, narrowest(dtypes)):
        once = measure(candidate, few)
        yield once
        if all(lines.status == Status.OK for lines in once):
            yield _measured(candidate, few, ROWS)


def _measured(candidate: Candidate, few: PresentedRows, size: int) -> list[Lines]:
    """Return a line for each row and quantity: its worst copy in one call with ``size`` rows."""
    places = np.arange(size) % len(few)
    batch = Batch(_copied(few.logits, places), few.targets[places])
    outcome = candidate.call(batch, few.options)
    shown = few.arranged(Arrangement.LARGE, size)
    found = [_worst_copies(shown, Quantity(name), values, places) for name, values in outcome.values]
    if outcome.status != Status.OK:
        found.append(replace(Lines.of(shown, Quantity.LOSS), status=Status(outcome.status), detail=outcome.detail))
    changed = (rows_differ(batch.logits[part], few.logits[places[part]]).any() for part in _parts(places, few.classes))
    if not candidate.form.may_overwrite and any(changed):
        detail = f"the loss writes into its {Argument.LOGITS}"
        lines = Lines.of(shown, Quantity.LOSS)
        found.append(replace(lines, status=Status.RAISED, detail=detail, written=Argument.LOGITS))
    return found


def _copied(logits: Array, places: NDArray[np.intp]) -> Array:
    copies = np.empty((len(places), logits.shape[1]), logits.dtype)
    for part in _parts(places, logits.shape[1]):
        copies[part] = logits[places[part]]
    return copies


def _worst_copies(rows: PresentedRows, quantity: Quantity, values: Array, places: NDArray[np.intp]) -> Lines:
    assert rows.origin is not None  # noqa: S101 - for the type checker: the rows are those of a case
    graded = rows.origin.known.grade(quantity, values, places)
    worst = worst_copies(grade_ranks(graded.grade), places)
    lines = replace(Lines.of(rows, quantity).graded(graded.take(worst)), out_dtype=values.dtype.name)
    if quantity != Quantity.LOSS:
        return lines
    return replace(lines, value=values[worst].astype(np.float64), exact=rows.exact.loss.hi)


def _parts(places: NDArray[np.intp], classes: int) -> Iterator[slice]:
    size = max(1, TOGETHER // classes)
    return (slice(start, start + size) for start in range(0, len(places), size))
