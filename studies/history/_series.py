"""The points in time of each cell, in the order of its versions."""

from collections.abc import Sequence
from typing import NamedTuple

from ...storage.manifest import CellKey
from ..compare import CELL
from ._runs import MeasuredRun
from ._versions import Governing, governing, in_order, labels


class Point(NamedTuple):
    """A run in the series of one cell, and the label of its version: ``optax 0.2.6``."""

    run: MeasuredRun
    version: str


class Series(NamedTuple):
    """A cell and its points, the oldest version first."""

    cell: CellKey
    points: tuple[Point, ...]


def all_series(runs: Sequence[MeasuredRun]) -> list[Series]:
    """Return the series of each cell that a run has.

    Versions give the order, and the time of the start if they are equal. A series has no point for a run without the
    cell.
    """
    found: dict[CellKey, list[MeasuredRun]] = {}
    for run in runs:
        cells = run.source.lines.measured[CELL].drop_duplicates().astype(str)
        for cell in map(CellKey._make, cells.itertuples(index=False, name=None)):
            found.setdefault(cell, []).append(run)
    return [_series(cell, of_cell) for cell, of_cell in found.items()]


def _series(cell: CellKey, runs: Sequence[MeasuredRun]) -> Series:
    def of(run: MeasuredRun) -> tuple[Governing, ...]:
        return governing(cell.implementation, run.packages, run.source.versions.get(cell.implementation, ""))

    ordered = sorted(runs, key=lambda run: (in_order(of(run)), run.started))
    names = labels([of(run) for run in ordered])
    return Series(cell, tuple(
        Point(run, f"{name} ({run.name})" if names.count(name) > 1 else name)
        for run, name in zip(ordered, names, strict=True)
    ))  # fmt: skip
