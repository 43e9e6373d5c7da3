"""Recorded errors measured again, by the calls that a run makes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...cases import Case, LinearCase
from ...core.errors import UsageError
from ...core.formats import Format
from ...core.literals import float_literal, shortest_decimals
from ...core.options import option_texts
from ...core.rounding import round_to
from .._cells import REDUCED
from .._measurer import Measurement
from .._session import CellRequest, Session
from ._entry import Entry, Recorded

MAX_CLASSES = 8  # of a row that is shown in full


def measured_again(recorded: Sequence[Recorded], timeout: float, case_files: Sequence[Path]) -> Iterator[Entry]:
    """Yield an entry for each recorded error, in another order: those that share a call follow each other."""
    for framework in dict.fromkeys(r.framework for r in recorded):
        of_framework = [r for r in recorded if r.framework == framework]
        of_framework.sort(key=lambda r: (r.implementation, r.dtype, r.device, r.mode, r.case))
        try:
            opened = Session([framework], timeout, list(case_files) or None)
        except UsageError as error:  # such as a framework whose package is not installed here
            yield from (Entry(each, problem=str(error)) for each in of_framework)
            continue
        with opened as session:
            yield from (_entry(session, each) for each in of_framework)


def _entry(session: Session, recorded: Recorded) -> Entry:
    request = CellRequest(
        recorded.case, recorded.implementation, recorded.dtype, recorded.row, recorded.device, recorded.mode
    )
    try:
        asked = session.prepare(request)
        measurement = asked.measurer.measure(asked.case, asked.cell)
        if recorded.quantity not in measurement.graded:
            raise UsageError(f"{recorded.implementation} returns no {recorded.quantity}")
    except UsageError as error:
        return Entry(recorded, problem=str(error))
    return _measured(measurement, recorded, asked.fmt)


def _measured(m: Measurement, recorded: Recorded, fmt: Format) -> Entry:
    quantity = recorded.quantity
    at = 0 if m.group.is_one_row(quantity) else recorded.row
    standard, array = m.group.standard(quantity, m.cell.implementation), m.values[quantity]
    values = array.reshape(standard.wanted.hi.shape).astype(np.float64)
    errors = standard.errors(values, array.dtype).relative_to(standard.ulp)[at]
    entry = int(np.nanargmax(errors))
    return Entry(
        recorded,
        float(m.graded[quantity].max_ulp[at]),
        entry,
        float(values[at, entry]),
        float(standard.wanted.hi[at, entry]),
        *_given(m.case, recorded.row, fmt),
        _target(m.case, recorded.row),
        ", ".join(f"{title} {text}" for title, text in option_texts(m.case.set_options, MAX_CLASSES)),
    )


def _given(case: Case, row: int, fmt: Format) -> tuple[str, tuple[float, ...]]:
    """Return the row of a case in words and in numbers: the shortest decimals that the dtype rounds to its numbers."""
    if isinstance(case, LinearCase):
        return case.shapes, ()
    if row == REDUCED:
        return f"{case.rows:,} rows of {case.classes:,} classes, reduced by {case.reduction}", ()
    if case.classes > MAX_CLASSES:
        return f"{case.classes:,} classes", ()
    exact = np.asarray(case.quantized(fmt)[row], np.float64)
    numbers = shortest_decimals(exact, lambda tried, wanted: np.asarray(round_to(tried, fmt)) == wanted)
    return f"[{', '.join(map(_literal, numbers))}]", tuple(map(float, exact))


def _literal(value: float) -> str:
    """Return the shortest text that a program reads as the number."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e7 else float_literal(value)


def _target(case: Case, row: int) -> str:
    if row == REDUCED:
        return ""
    if case.targets.ndim == 1:
        return str(int(case.targets[row]))
    if case.classes > MAX_CLASSES:
        return "probabilities"
    return f"[{', '.join(map(_literal, case.targets[row]))}]"
