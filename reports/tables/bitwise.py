"""Bitwise invariance: whether a row's results keep their bits in other batches and with other numbers of threads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ...core.arguments import as_path
from ...core.bitwise import Property
from ...core.counting import count
from ...core.vocabulary import Status
from ...storage.store import Run
from .ordering import CELL

INVARIANT, NOT_INVARIANT, UNKNOWN = "invariant", "not invariant", "not measured"
VERDICT, LARGEST, WIDTHS = "bits", "largest ulp", "classes"
EQUAL = "equal"


def bitwise(run: str | Path) -> pd.DataFrame:
    """Return the bitwise invariance that ``logitlab run --bitwise`` has measured.

    Args:
        run: the folder of a run.

    Returns:
        A line for each cell, width (``classes``), ``property`` and ``quantity``. ``property`` is the change around a
        row: ``alone``, ``among others``, ``position``, ``neighbours``, ``threads`` or ``repeated``. ``rows`` were
        compared, and ``different`` of them have other bits. ``max_ulp`` is the largest distance, in steps between
        adjacent numbers, in this ``row`` and call (``where``). ``status`` and ``detail`` are those of the call.
        No lines if the run did not compare bits.

    Raises:
        UsageError: for a folder that is not a run, or a file that cannot be read.
    """
    return Run(as_path(run, "run", "the folder of a run")).bitwise()


def invariance(lines: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each cell from those of `bitwise`.

    Returns:
        The columns of `CELL`; ``bits``: ``invariant``, ``not invariant`` or ``not measured``; a column for each
        property: ``equal``, or the number of different rows and their largest distance; the widths with a difference
        as ``classes``, and ``largest ulp``. A property that was not measured is an empty string.
    """
    found = [(*key, *_of_cell(some)) for key, some in lines.groupby(CELL, sort=False)]
    return pd.DataFrame(found, columns=[*CELL, VERDICT, *(p.value for p in Property), WIDTHS, LARGEST])


def describe_bitwise(lines: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence that names the implementations whose rows change their bits, if bits were compared."""
    table = invariance(lines)
    if table.empty:
        return
    changed = table[table[VERDICT] == NOT_INVARIANT]["implementation"].drop_duplicates()
    if changed.empty:
        yield f"Bits compared in {count(len(table), 'cell')}: every measured row keeps them"
    else:
        yield f"Rows change their bits with their batch or the threads: {', '.join(map(str, changed))}"


def _of_cell(lines: pd.DataFrame) -> tuple[object, ...]:
    different = lines[lines["different"] > 0]
    measured = lines["status"].eq(Status.OK).all()
    verdict = NOT_INVARIANT if len(different) else INVARIANT if measured else UNKNOWN
    properties = [_of_property(lines[lines["property"] == p.value]) for p in Property]
    widths = ", ".join(f"{width:,}" for width in sorted(different["classes"].unique()))
    return (verdict, *properties, widths, float(lines["max_ulp"].max()))


def _of_property(lines: pd.DataFrame) -> str:
    if lines.empty:
        return ""
    faults = lines[lines["status"] != Status.OK]
    if len(faults):
        return str(faults["status"].iloc[0])
    if not lines["different"].any():
        return EQUAL
    # A row counts once, whether its loss or its gradient differs.
    rows = lines.groupby("classes")["different"].max().sum()
    return f"{count(int(rows), 'row')}, {_ulp(float(lines['max_ulp'].max()))}"


def _ulp(distance: float) -> str:
    return f"{distance:,.0f} ulp" if np.isfinite(distance) else "one not finite"
