"""The versions at which a cell's results changed, with the worst change of each."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from ...core.errors import UsageError
from ...storage.manifest import CellKey
from ..compare import CELL, Change, Comparison, compare_sources
from ._runs import MeasuredRun
from ._series import Series

# A change with the versions between which it happened.
VERSIONS = ["version", "previous"]
COLUMNS = [
    *CELL, "quantity", *VERSIONS, "regressions", "improvements", "others", "change", "case", "row", "before", "after",
    "before_ulp", "after_ulp", "factor", "detail",
]  # fmt: skip
_OF_STEP = [*CELL, "quantity", *VERSIONS]


def changes(series: Iterable[Series], factor: float) -> tuple[pd.DataFrame, list[str]]:
    """Return the changes of each cell from each version to the next, and the pairs that cannot be compared.

    The changes are those of `compare`, with the columns `VERSIONS`. A pair of runs is compared once for all cells.
    """
    between: dict[tuple[str, str], tuple[MeasuredRun, MeasuredRun]] = {}
    versions: dict[tuple[str, str], dict[CellKey, tuple[str, str]]] = {}
    for cell, points in series:
        for (before, previous), (after, version) in pairwise(points):
            pair = before.source.name, after.source.name
            between[pair] = before, after
            versions.setdefault(pair, {})[cell] = (version, previous)
    found, failed = [], []
    for pair, (before, after) in between.items():
        try:
            compared = compare_sources(before.source, after.source, factor=factor)
        except UsageError as error:
            failed.append(str(error))
        else:
            found.append(_of_pair(compared, versions[pair]))
    empty = pd.DataFrame(columns=[*VERSIONS, *Change._fields])
    return pd.concat([table for table in found if len(table)] or [empty], ignore_index=True), failed


def _of_pair(compared: Comparison, versions: dict[CellKey, tuple[str, str]]) -> pd.DataFrame:
    """Return the changes of the cells for which the two runs are neighbours in time."""
    table = compared.changes
    cells = list(map(CellKey._make, table[CELL].itertuples(index=False, name=None)))
    known = table[[cell in versions for cell in cells]].copy()
    of_lines = [versions[cell] for cell in cells if cell in versions]
    for place, column in enumerate(VERSIONS):
        known.insert(place, column, [pair[place] for pair in of_lines])
    return known


def steps(changed: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each cell, quantity and version with a change, in the order of the points.

    ``regressions``, ``improvements`` and ``others`` are numbers of changes; the other columns describe the worst one.
    """
    lines = list(_steps(changed))
    table = pd.DataFrame(lines, columns=COLUMNS).astype({"row": "Int64"})
    named = points[[*CELL, "quantity", "version"]].reset_index(names="place")
    placed = table.merge(named, on=[*CELL, "quantity", "version"], how="left").sort_values("place", kind="stable")
    return placed[COLUMNS].reset_index(drop=True)


def _steps(changed: pd.DataFrame) -> Iterator[dict[str, Any]]:
    if changed.empty:
        return
    # `compare` puts the worst change of a cell first.
    for key, part in changed.groupby(_OF_STEP, sort=False):
        worst = part.iloc[0]
        yield {
            **dict(zip(_OF_STEP, key, strict=True)),
            "regressions": int(part["regression"].sum()),
            "improvements": int(part["improvement"].sum()),
            "others": int((~(part["regression"] | part["improvement"])).sum()),
            **worst[["change", "case", "row", "before", "after", "before_ulp", "after_ulp", "factor", "detail"]],
        }
