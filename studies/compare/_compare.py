"""``compare``: the difference of two sets of measurements, line by line."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...core import arguments
from ...core.errors import UsageError
from ...core.formats import in_table_order
from ._changes import COLUMNS, KINDS, Kind, of_lines, of_one_side
from ._lines import CELL, Source, by_case, changed_cases, joined
from ._source import Comparable, read_source, require_readable


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The changes from one run to another.

    Attributes:
        changes: one line for each change; the worst cells come first, and in a cell the worst changes. ``change`` is
            one of `KINDS`. ``implementation``, ``dtype``, ``device``, ``mode``, ``quantity``, ``case`` and ``row``
            identify the measurement. They are empty or missing if a change concerns several measurements: a missing
            cell, a case that was not selected, all rows of a baseline's case. ``before`` and ``after`` are texts;
            ``before_ulp``, ``after_ulp`` and their quotient ``factor`` are numbers. ``regression`` and ``improvement``
            give the direction. ``detail`` is the message of a call that no longer succeeds.
        cells: for each cell and quantity, the number of compared lines (``rows``) and of changes of each kind;
            ``quantity`` is empty for a cell that only one side has.
        before, after: the two sides, with their names and facts.
        notes: hints for the reader, such as versions that differ and lines that could not be compared.
        factor: the growth of an error that is still allowed.
    """

    changes: pd.DataFrame
    cells: pd.DataFrame
    before: Source
    after: Source
    notes: tuple[str, ...]
    factor: float

    @property
    def regressions(self) -> pd.DataFrame:
        return self.changes[self.changes["regression"]].reset_index(drop=True)

    @property
    def improvements(self) -> pd.DataFrame:
        return _in_order(self.changes[self.changes["improvement"]])

    @property
    def others(self) -> pd.DataFrame:
        """The changes that are neither."""
        neither = ~(self.changes["regression"] | self.changes["improvement"])
        return self.changes[neither].reset_index(drop=True)

    @property
    def compared(self) -> int:
        """The number of lines that both sides have."""
        return int(self.cells["rows"].sum())

    @property
    def empty(self) -> bool:
        return len(self.changes) == 0

    def __len__(self) -> int:
        return len(self.changes)

    def __repr__(self) -> str:
        counts = (
            f"{len(self.regressions)} regressions, {len(self.improvements)} improvements, {len(self.others)} others"
        )
        return f"Comparison({counts}, {self.compared} compared)"

    @property
    def regressed(self) -> bool:
        return bool(self.changes["regression"].any())

    @property
    def exit_code(self) -> int:
        """0 without a regression, 1 with one."""
        return int(self.regressed)


def compare(before: Comparable, after: Comparable, *, factor: float = 2.0, allow_gone: bool = False) -> Comparison:
    """Compare two runs by cell and row, or by cell and case if one of them is a baseline.

    A regression is a status that is no longer ok, a result that is no longer finite, or a lower grade. An error that
    grew and a measurement that a cell no longer has are regressions too. Bitwise differences and new cells are reported
    but do not count as regressions. If the exact answer of a row differs, the two cases only share their name. This is
    reported, and the row is not compared.

    Args:
        before: the old run: a measurements table (`store.COLUMNS`), a run folder or `Run`, a ``.parquet`` file of such
            a table, or a baseline.
        after: the new run, in one of the same forms.
        factor: an error grew if it is more than this many times as large, and more than 1 ulp larger. It shrank if the
            reverse holds.
        allow_gone: do not count cells, or cases of a cell, that only ``before`` has as regressions. A case that no cell
            of ``after`` has was not selected, and never counts.

    Raises:
        UsageError: for a side that cannot be read, or two sides without a common line.
    """
    factor = growth_factor(factor)
    # Both sides are checked before either is read, which takes seconds.
    require_readable(before, "before")
    require_readable(after, "after")
    return compare_sources(read_source(before, "BASE"), read_source(after, "NEW"), factor=factor, allow_gone=allow_gone)


def compare_sources(before: Source, after: Source, *, factor: float, allow_gone: bool = False) -> Comparison:
    """Compare two sides that are read already; see `compare`.

    Raises:
        UsageError: for two sides without a common line.
    """
    sides = before, after
    base, new = (side.lines for side in sides)
    if base.by_case or new.by_case:
        base, new = by_case(base), by_case(new)
    both, gone, fresh = joined(base.measured, new.measured)
    other = changed_cases(base, new, both)
    if len(both) == 0 or other.all():
        why = "their cases have the same names but different contents" if len(both) else "they share no measurement"
        fix = "measure both with the same --case, --implementation, --dtype and --mode"
        raise UsageError(f"cannot compare {sides[0].name} with {sides[1].name}: {why}; {fix}")
    tables = [
        of_lines(both, other, factor),
        *of_one_side(gone, base, new, Kind.CELL_GONE, Kind.CASE_GONE, regression=not allow_gone),
        *of_one_side(fresh, new, base, Kind.CELL_NEW, Kind.CASE_NEW, regression=False),
    ]
    changes = _in_order(pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True))
    return Comparison(changes, _counted(both, changes), *sides, _notes(*sides, both), factor)


def growth_factor(factor: float) -> float:
    """Return the factor, or raise a UsageError if it is not a number of at least 1."""
    return arguments.as_number(factor, "factor", 1)


def _in_order(changes: pd.DataFrame) -> pd.DataFrame:
    """Sort changes: cells by their worst change, and in a cell the worst change first, for any order of the input."""
    rank = changes["change"].map({kind: i for i, kind in enumerate(KINDS)}).astype(int)
    rank += np.where(changes["regression"], 0, np.where(changes["improvement"], 1, 2)) * len(KINDS)
    cells = [changes[c] for c in CELL]
    worst = rank.groupby(cells).transform("min")
    keyed = changes.assign(
        rank=rank,
        worst=worst,
        fewer=-(rank == worst).groupby(cells).transform("sum"),
        wide=changes["dtype"].map({d: i for i, d in enumerate(in_table_order(changes["dtype"]))}),
        grown=-changes["after_ulp"].where(~changes["improvement"], changes["before_ulp"]),
    )
    cell = ["worst", "fewer", "implementation", "device", "mode", "wide", "dtype"]
    by = [*cell, "rank", "grown", "case", "row", "quantity"]
    return keyed.sort_values(by, kind="stable")[COLUMNS].reset_index(drop=True)


def _counted(both: pd.DataFrame, changes: pd.DataFrame) -> pd.DataFrame:
    """Count the compared lines and the changes, by cell and quantity."""
    by = [*CELL, "quantity"]
    rows = both.groupby(by, observed=True).size().rename("rows").reset_index()
    of_cells = changes[changes["implementation"] != ""]
    ways = {"regressions": of_cells["regression"], "improvements": of_cells["improvement"]}
    kinds = {kind: of_cells["change"] == kind for kind in KINDS}
    changed = of_cells[by].assign(**ways, **kinds).groupby(by).sum().reset_index()
    table = rows.astype(dict.fromkeys(by, object)).merge(changed, on=by, how="outer", sort=True)
    counts = table.columns.difference(by, sort=False)
    return table.assign(**table[counts].astype("float64").fillna(0.0).astype("int64"))


def _notes(before: Source, after: Source, both: pd.DataFrame) -> tuple[str, ...]:
    changed = _facts_changed(before, after)
    notes = [f"They differ in {', '.join(changed)}"] if changed else []
    notes += [f"{side.name} is incomplete" for side in (before, after) if side.complete is False]
    if before.lines.by_case or after.lines.by_case:
        notes.append("Compared by case, since a baseline has no rows")
    for side, known in ((before, both["known"]), (after, both["known new"])):
        if not known.any():
            notes.append(f"{side.name} has no bits, so only grades and errors are compared")
    return tuple(notes)


def _facts_changed(before: Source, after: Source) -> list[str]:
    """Return the differences that may explain a change: in the known facts, or the versions of implementations."""
    if before.facts and after.facts:
        known = after.facts
        return [f"{name} {was} -> {known[name]}" for name, was in before.facts.items() if known.get(name, was) != was]
    moves: dict[tuple[str, str], list[str]] = {}
    for name, was in before.versions.items():
        if (now := after.versions.get(name, was)) != was:
            moves.setdefault((was, now), []).append(name)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} {was} -> {now}"
        for (was, now), names in moves.items()
    ]
