"""A comparison as Markdown for a pull request: at most 40 lines, grouped by kind of change, the worst first."""

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from ...core.counting import count
from ...reports.markdown_code import MAX_CELL, code_span
from . import _wording as wording
from ._changes import KINDS, Change
from ._compare import Comparison
from ._lines import CELL

MAX_LINES = 40
_MAX_CASE, _MAX_STATE, _MAX_FACTS = 60, 40, 160  # characters
_WHOLE = 1000  # characters of a name, where every line is shown
_TABLE = 5  # lines around the lines of a table: its title, its heading and the empty lines
_AT = f"&#{ord('@')};"  # GitHub reads this as the sign itself, and would notify the user whose name follows
_ALL = "`logitlab compare BASE NEW --all --format markdown` prints every change"
_HEAD = ("change", "count", "implementation", "measured in", "case", "before", "after")


def markdown(diff: Comparison, *, whole: bool = False) -> str:
    """Return the verdict, three findings, the regressions by kind and cell, and a line for each other kind of change.

    At most `MAX_LINES` lines; with ``whole``, every regression and improvement.
    """
    parts = [f"## LogitLab compare: {escaped(wording.headline(diff))}", _findings(diff, whole=whole)]
    rest = diff.changes[~diff.changes["regression"]]
    if whole:
        parts += _every_line("Regressions", diff.regressions)
        parts += _every_line("Improvements", diff.improvements)
        rest = diff.others
    summary = list(_kinds(rest))
    below = _page("Everything else", ("change", "count", "cells", "such as", "verdict"), summary) if summary else ""
    if whole:
        return "\n\n".join([*parts, *[below] * bool(below)]) + "\n"
    taken = sum(part.count("\n") + 2 for part in [*parts, below] if part)
    room = MAX_LINES - taken - _TABLE - 2  # the last line gives the number of lines left out
    if len(diff.regressions):
        lines, left = _by_kind(diff.regressions, room)
        parts.append(_page("Regressions", _HEAD, lines))
        if left:
            parts.append(f"{count(left, 'more line')} of this table: {_ALL}.")
    if below:
        parts.append(below)
    return "\n\n".join(parts) + "\n"


def code(text: str, most: int = _WHOLE) -> str:
    """Return data as a code span of at most so many characters; empty data stays empty."""
    return code_span(wording.full_name(text), most) if text else ""


def escaped(text: str) -> str:
    """Words outside of code, with the characters of Markdown and HTML as entities."""
    return re.sub(r"([\\`*_\[\]<|@#~&])", lambda found: f"&#{ord(found[1])};", text).replace(_AT, f"{_AT}&#8203;")


def _findings(diff: Comparison, *, whole: bool) -> str:
    """The three things that matter: the worst change, the implementation with the most, and how the sides differ."""
    lines: list[str] = []
    ways = (("Worst", "regression", diff.regressions), ("Best", "improvement", diff.improvements))
    for title, noun, changes in ways:
        if len(changes) and not lines:
            first = next(Change.each(changes.head(1)))
            cell, case = code(wording.cell_name(first.cell), MAX_CELL), code(wording.case_name(first), MAX_CELL)
            where = " of ".join(filter(None, [wording.full_name(first.quantity), case]))
            what = ", ".join(filter(None, [first.change, cell, where]))
            lines.append(f"**{title}**: {what}: {_moved(first)}.")
            counts = changes["implementation"].value_counts()
            most, number = str(counts.index[0]), int(counts.iloc[0])
            where = code(most, MAX_CELL) or "cases that no cell has"
            lines.append(f"**Most**: {number:,} of {count(len(changes), noun)} are in {where}.")
    limit = _WHOLE if whole else _MAX_FACTS
    facts = "; ".join(wording.one_line(fact, limit) for fact in wording.origins(diff))
    lines.append(f"**Sides**: {escaped(facts)}.")
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))


def _moved(change: Change, most: int = MAX_CELL) -> str:
    before, after = _states(change, most)
    return " to ".join(filter(None, (before, after)))


def _states(change: Change, most: int) -> tuple[str, str]:
    """The words before and after, as Markdown."""
    after = wording.one_line(wording.after(change, most), most - len("``..."))
    return escaped(wording.one_line(change.before, most)), code(after) if change.detail else escaped(after)


def _by_kind(changes: pd.DataFrame, room: int) -> tuple[list[Sequence[str]], int]:
    """A line for each kind of change and cell, with the worst change of the cell; and how many lines are left out.

    Each kind has a line at least; kinds take turns for the rest of the room.
    """
    key = ["change", *CELL]
    worst = changes.groupby(key, sort=False).head(1)
    kinds = worst["change"].map(KINDS.index)
    turn = worst.groupby("change", sort=False).cumcount()
    chosen = worst.assign(turn=turn, kind=kinds).sort_values(["turn", "kind"], kind="stable")
    chosen = chosen.head(max(room, kinds.nunique())).sort_values(["kind", "turn"], kind="stable")
    of_kind, cells_of_kind = changes["change"].value_counts(), worst["change"].value_counts()
    of_cell = changes.groupby(key, sort=False).size().to_dict()
    lines: list[Sequence[str]] = []
    named: set[str] = set()
    for c in Change.each(chosen):
        cells = count(int(cells_of_kind[c.change]), "cell")
        heading = "" if c.change in named else f"**{c.change}**: {of_kind[c.change]:,} in {cells}"
        named.add(c.change)
        lines.append((heading, f"{of_cell[c.change, *c.cell]:,}", *_places(c, _MAX_CASE, _MAX_STATE)))
    return lines, len(worst) - len(lines)


def _places(c: Change, case: int, state: int) -> tuple[str, ...]:
    """The cells of a line about a change: implementation, dtype, device and mode, case, before, after."""
    name = code(wording.full_name(c.implementation), max(case, MAX_CELL))
    measured = code(" ".join(filter(None, (c.dtype, c.device, c.mode))), max(case, MAX_CELL))
    case_words = " ".join(filter(None, (wording.full_name(c.quantity), code(wording.case_name(c), case))))
    return (name, measured, case_words, *_states(c, state))


def _every_line(title: str, changes: pd.DataFrame) -> Iterator[str]:
    """Every change, a table for each kind."""
    for kind in KINDS:
        part = changes[changes["change"] == kind]
        if len(part):
            lines = [_places(c, _WHOLE, _WHOLE) for c in Change.each(part)]
            yield _page(f"{title}: {kind} ({len(part):,})", _HEAD[2:], lines)


def _kinds(changes: pd.DataFrame) -> Iterator[Sequence[str]]:
    """A line for each kind of change: how many, in how many cells, and the first."""
    by_kind = changes.groupby(["change", "improvement"], sort=False)
    for (kind, better), part in sorted(by_kind, key=lambda each: (not each[0][1], KINDS.index(each[0][0]))):
        column = "implementation" if (part["implementation"] != "").all() else "case"
        names = list(dict.fromkeys(part[column]))
        rest = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        cells = len(part[CELL].drop_duplicates())
        name = code(names[0], MAX_CELL - len(rest))
        yield (str(kind), f"{len(part):,}", f"{cells:,}", f"{name}{rest}", "better" if better else "neither")


def _page(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([f"### {title}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows])
