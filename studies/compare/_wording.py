"""The texts of a comparison, equal in every format."""

from collections.abc import Iterator

import pandas as pd

from ...core.counting import count
from ...storage.manifest import CellKey
from ._changes import KINDS, Change, Kind
from ._compare import Comparison
from ._lines import CELL

MAX_MESSAGE = 120  # characters
MAX_NAME = 1000  # characters


def one_line(text: object, most: int = MAX_MESSAGE) -> str:
    """Return text as one short line of printable characters, with control characters escaped."""
    whole = str(text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole[:most])
    return f"{shown[:most]}..." if max(len(whole), len(shown)) > most else shown


def full_name(name: object) -> str:
    return one_line(name, MAX_NAME)


def headline(diff: Comparison) -> str:
    """Return the result in one sentence."""
    compared = f"{count(diff.compared, 'measurement')} compared"
    if diff.empty:
        return f"nothing changed, {compared}"
    better = count(len(diff.improvements), "improvement")
    other = count(len(diff.others), "other change")
    if not diff.regressed:
        return f"no regression, {better}, {other}, {compared}"
    cells = diff.regressions[CELL].drop_duplicates()
    worse = f"{count(len(diff.regressions), 'regression')} in {count(len(cells), 'cell')}"
    return f"{worse}, {better}, {other}, {compared}"


def origins(diff: Comparison) -> list[str]:
    """Return the two sides and the notes."""
    sides = (("BASE", diff.before.name), ("NEW", diff.after.name))
    named = ", ".join(f"{role} is {'a table' if name == role else full_name(name)}" for role, name in sides)
    return [named, *(one_line(note, 1000) for note in diff.notes)]


def advice(diff: Comparison) -> str:
    """Return how to accept missing cells and cases, or an empty string if they are not regressions."""
    if not diff.regressions["change"].isin([Kind.CELL_GONE, Kind.CASE_GONE]).any():
        return ""
    return "NEW lacks cells or cases of BASE; if that is intended, add --allow-gone"


def cell_name(cell: CellKey) -> str:
    return full_name(" ".join(filter(None, cell)))


def case_name(change: Change) -> str:
    """Return the case, with its row if the change concerns one row."""
    row = "" if change.row is None or change.row < 0 else f"[{change.row}]"
    return full_name(change.case) + row


def after(change: Change, most: int) -> str:
    """Return the result on the new side, with at most ``most`` characters of the message of a failed call."""
    detail = f": {one_line(change.detail, most)}" if change.detail else ""
    return one_line(change.after) + detail


def counts(changes: pd.DataFrame) -> str:
    """Return the number of changes of each kind, such as ``2 grade lost, 1 bits changed``."""
    found = changes["change"].value_counts()
    return ", ".join(f"{found[kind]:,} {kind}" for kind in KINDS if kind in found)


def of_cells(changes: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the changes of each cell, in their order."""
    for cell, part in changes.groupby(CELL, sort=False):
        yield cell_name(CellKey._make(cell)) or "all cells", part


def chosen(changes: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """Return ``most`` of the changes in their order, or all if ``most`` is None.

    Kinds take turns, and cells within a kind. More than ``most`` changes are returned only to show every kind.
    """
    if most is None:
        return changes
    of_cell = changes.groupby([*CELL, "change"], sort=False).cumcount()
    turn = of_cell.sort_values(kind="stable").to_frame("n").groupby(changes["change"], sort=False).cumcount()
    order = turn.reindex(changes.index).sort_values(kind="stable")
    return changes.loc[order.index[: max(most, int((order == 0).sum()))].sort_values()]


def others_summary(diff: Comparison, most: int | None) -> list[str]:
    """Return a line for each kind of other changes: their number and at most ``most`` names, or all if it is None."""
    lines = []
    for kind, part in diff.others.groupby("change", sort=False):
        column = "implementation" if (part["implementation"] != "").all() else "case"
        names = part[column].drop_duplicates()
        shown = names.iloc[:most]
        some = ", ".join(full_name(name) for name in shown)
        rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        lines.append(f"{kind}: {len(part):,}, {some}{rest}")
    return lines
