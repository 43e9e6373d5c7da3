"""A comparison in words, the same in every format."""

from collections.abc import Iterator

import pandas as pd

from ...storage.manifest import CellKey
from ._changes import KINDS, Change
from ._compare import Comparison
from ._lines import CELL

MAX_MESSAGE = 120  # characters
MAX_NAME = 1000  # characters: more than any name has that a person gave


def one_line(text: object, most: int = MAX_MESSAGE) -> str:
    """Text as one short line of printable characters: a control character is escaped."""
    whole = str(text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole[:most])
    return f"{shown[:most]}..." if max(len(whole), len(shown)) > most else shown


def full_name(name: object) -> str:
    return one_line(name, MAX_NAME)


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"


def headline(diff: Comparison) -> str:
    """The verdict in one sentence."""
    compared = f"{plural(diff.compared, 'measurement')} compared"
    if diff.empty:
        return f"nothing changed, {compared}"
    better = plural(len(diff.improvements), "improvement")
    other = plural(len(diff.others), "other change")
    if not diff.regressed:
        return f"no regression, {better}, {other}, {compared}"
    cells = diff.regressions[CELL].drop_duplicates()
    worse = f"{plural(len(diff.regressions), 'regression')} in {plural(len(cells), 'cell')}"
    return f"{worse}, {better}, {other}, {compared}"


def origins(diff: Comparison) -> list[str]:
    """The two sides, and what to know of them."""
    sides = (("BASE", diff.before.name), ("NEW", diff.after.name))
    named = ", ".join(f"{role} is {'a table' if name == role else full_name(name)}" for role, name in sides)
    return [named, *(one_line(note, 1000) for note in diff.notes)]


def cell_name(cell: CellKey) -> str:
    return full_name(" ".join(filter(None, cell)))


def case_name(change: Change) -> str:
    """The case with its row, if the change is about one."""
    row = "" if change.row is None or change.row < 0 else f"[{change.row}]"
    return full_name(change.case) + row


def after(change: Change, most: int) -> str:
    """What came out on the new side, with at most so many characters of the message of a call that failed."""
    detail = f": {one_line(change.detail, most)}" if change.detail else ""
    return one_line(change.after) + detail


def counts(changes: pd.DataFrame) -> str:
    """``2 grade lost, 1 bits changed``."""
    found = changes["change"].value_counts()
    return ", ".join(f"{found[kind]:,} {kind}" for kind in KINDS if kind in found)


def of_cells(changes: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The changes of each cell, in the order in which they are listed."""
    for cell, part in changes.groupby(CELL, sort=False):
        yield cell_name(CellKey._make(cell)) or "all cells", part


def chosen(changes: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """Some of the changes, in their order, or all where ``most`` is None.

    There are ``most`` of them, and more only to show each kind: kinds take turns, and cells within a kind.
    """
    if most is None:
        return changes
    of_cell = changes.groupby([*CELL, "change"], sort=False).cumcount()
    turn = of_cell.sort_values(kind="stable").to_frame("n").groupby(changes["change"], sort=False).cumcount()
    order = turn.reindex(changes.index).sort_values(kind="stable")
    return changes.loc[order.index[: max(most, int((order == 0).sum()))].sort_values()]


def others_summary(diff: Comparison, most: int | None) -> list[str]:
    """What is neither better nor worse, one line a kind: how much of it, and where, in ``most`` names or all."""
    lines = []
    for kind, part in diff.others.groupby("change", sort=False):
        column = "implementation" if (part["implementation"] != "").all() else "case"
        names = part[column].drop_duplicates()
        shown = names.iloc[:most]
        some = ", ".join(full_name(name) for name in shown)
        rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        lines.append(f"{kind}: {len(part):,}, {some}{rest}")
    return lines
