"""The first screen of a report in a terminal: which losses are safe, what breaks the others, and what to run next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.text import Text

from ..core.counting import count
from ..core.vocabulary import GRADES
from ._commands import report_command
from ._report import PARTIAL, Report
from ._summary import UNGRADED, Group, Summary
from ._terminal import GRADE_STYLES
from ._wording import MEANINGS, and_more, listed
from .tables.bitwise import describe_bitwise

MAX_LINES = 45
WIDEST = 100  # columns; longer lines are hard to read
MAX_DAMAGE, MAX_RUNS, MAX_SAFE, MAX_COUNTS = 3, 2, 4, 8  # lines: of damage, runs, names of a safe grade, dtypes
MIN_GROUPS = 3  # cases that break losses, even if the screen then overflows
_INDENT = 3  # columns before a name below its grade or case


def overview(found: Report, width: int) -> Text:
    """Return the first screen of a report: at most `MAX_LINES` lines of at most ``width`` columns, commands aside."""
    width = min(width, WIDEST)
    above = [*_damage(found, width), *_runs(found, width)]
    below = [Text(), *_next_steps(found)]
    if found.summary is None:
        empty = (
            "Nothing could be graded; the tables have the messages." if len(found.source.cells) else "No measurements."
        )
        return Text("\n").join([*above, Text(), Text(empty, style="bold"), *below])
    summary = found.summary
    middle = [Text(), *_headline(summary, width), Text(), *_safe(summary, width)]
    after = [*_counts(summary, width), *_notes(found, summary, width)]
    room = MAX_LINES - len(above) - len(middle) - len(after) - len(below) - 2  # an empty line and a heading
    return Text("\n").join([*above, *middle, *_unsafe(summary.unsafe, room, width), *after, *below])


def _damage(found: Report, width: int) -> Iterator[Text]:
    """Yield a line for each missing or damaged part."""
    for message in found.damage[:MAX_DAMAGE]:
        line = f"{PARTIAL}: {message}"
        yield Text(textwrap.shorten(line, 2 * width, placeholder=" ..."), style=GRADE_STYLES["F"])
    if len(found.damage) > MAX_DAMAGE:
        more = count(len(found.damage) - MAX_DAMAGE, "more fault")
        yield Text(f"{PARTIAL}: {more}; `logitlab doctor RUN` lists them", style=GRADE_STYLES["F"])


def _runs(found: Report, width: int) -> Iterator[Text]:
    """The runs, and what they measured."""
    for m in found.manifests[:MAX_RUNS]:
        done = "" if m.complete else ", NOT COMPLETE"
        line = f"Run {m.run} of LogitLab {m.logitlab}{done}: {m.package_versions or 'no package'}; {m.machine}"
        yield Text(textwrap.shorten(line, width, placeholder=" ..."), style="dim")
    if len(found.manifests) > MAX_RUNS:
        yield Text(f"and {count(len(found.manifests) - MAX_RUNS, 'more run')}", style="dim")


def _headline(summary: Summary, width: int) -> Iterator[Text]:
    _, mode, device = summary.column
    yield Text(summary.headline, style="bold")
    yield Text(f"Measured in {mode} mode on {device} over {summary.measured}; each loss has its worst grade.")
    yield from (Text(line) for line in textwrap.wrap(summary.scope, width))


def _safe(summary: Summary, width: int) -> Iterator[Text]:
    """The safe losses, grade by grade."""
    for grade, names in summary.safe.items():
        word, meaning = MEANINGS[grade]
        heading = f": {meaning} ({count(len(names), 'loss')})"
        yield Text.assemble((f"{grade}  {word}", GRADE_STYLES[grade]), heading)
        yield from _names(names, MAX_SAFE, width)


def _names(names: Sequence[str], most: int, width: int) -> Iterator[Text]:
    """Names below their grade or case, in at most so many lines."""
    yield from (Text(" " * _INDENT + line) for line in listed(names, width - _INDENT, most))


def _unsafe(groups: Sequence[Group], room: int, width: int) -> Iterator[Text]:
    """Yield the deciding cases of the other losses, with the result and the losses, in ``room`` lines."""
    if not groups:
        return
    shown = groups
    if 2 * len(groups) > room:
        largest = sorted(groups, key=lambda group: -len(group.implementations))[: max((room - 1) // 2, MIN_GROUPS)]
        shown = [group for group in groups if group in largest]
    most = 2 if 3 * len(shown) <= room else 1
    yield Text()
    yield Text("What breaks the others", style="bold")
    for group in shown:
        losses = f" ({count(len(group.implementations), 'loss')})"
        reason = textwrap.shorten(group.reason, width - _INDENT - len(losses), placeholder=" ...")
        case, colon, result = reason.partition(":")
        yield Text.assemble((f"{group.grade}  ", GRADE_STYLES[group.grade]), (case, "bold"), colon, result, losses)
        yield from _names(group.implementations, most, width)
    if left := [group for group in groups if group not in shown]:
        losses = count(sum(len(group.implementations) for group in left), "more loss")
        yield Text(f"and {losses}, decided by {count(len(left), 'more case')}; --all shows them")


def _counts(summary: Summary, width: int) -> Iterator[Text]:
    """How many losses have each grade in each dtype, mode and device, where there are several."""
    table = summary.counts
    if len(table) < 2:
        return
    columns = [*GRADES, *([UNGRADED] if table[UNGRADED].any() else [])]
    shown = table.head(MAX_COUNTS - 1) if len(table) > MAX_COUNTS else table
    first = min(max(map(len, shown["label"])), width - 6 * len(columns) - len(UNGRADED))
    yield Text()
    heading = Text(f"{'Losses of each grade':{first}}", style="bold")
    for column in columns:
        heading.append(f"{column:>5}" if column in GRADES else f"  {column}", GRADE_STYLES.get(column, ""))
    first = max(first, len("Losses of each grade"))
    yield heading
    for line in shown.to_dict("records"):
        numbers = "".join(f"{line[c]:>{5 if c in GRADES else 2 + len(c)}}" for c in columns)
        yield Text(f"{line['label'][:first]:{first}}{numbers}")
    if len(table) > len(shown):
        yield Text(and_more(len(table) - len(shown)).strip() + " dtypes, modes and devices")


def _notes(found: Report, summary: Summary, width: int) -> Iterator[Text]:
    """Yield notes on NaN from ignored rows, on missing packages and on modes."""
    notes = [
        f"NaN from an ignored row reaches {where} in {count(len(names), 'loss')}."
        for where, names in summary.ignored.items()
    ]
    notes += [f"{sentence}." for sentence in describe_bitwise(found.bitwise)]
    missing = list(dict.fromkeys(name for m in found.manifests for name in m.missing))
    if missing:
        notes.append(f"Not installed: {listed(missing, width // 2)[0]}; `logitlab doctor` says why.")
    yield from [Text()] * bool(notes or found.notes)
    yield from (Text(textwrap.shorten(note, width, placeholder=" ...")) for note in notes)
    yield from (Text(line) for note in found.notes for line in textwrap.wrap(note, width))


def _next_steps(found: Report) -> Iterator[Text]:
    """Commands for more, each below its purpose."""
    explain = found.summary and found.summary.explain
    if explain:
        yield from _step("where the computation goes wrong, stage by stage", explain)
    yield from _step("every table", report_command(found.folders, "--all"))
    yield from _step(
        "pages to sort and filter, from report/index.html in the run's folder",
        report_command(found.folders, "--format", "html"),
    )


def _step(purpose: str, command: str) -> Iterator[Text]:
    yield Text(f"  # {purpose}", style="dim")
    yield Text(f"  {command}", style="bold")
