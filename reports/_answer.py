"""The answer of a quick run, for a terminal: which losses are safe, what breaks the others and what to do next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from ..core.counting import count
from ..storage.manifest import Manifest
from ..storage.querying import Measurements
from ..storage.store import Run
from ._commands import explain_command, report_command
from ._overview import WIDEST
from ._summary import case_counts, grouped
from ._terminal import GRADE_STYLES, console, folded
from ._wording import MEANINGS, count_cases, outcome
from .tables.grades import Column
from .tables.ignored import lets_nan_through
from .tables.safety import Result, safety

_INDENT = 3  # columns


def show_answer(run: Run, to: Console | None = None) -> None:
    """Print which of the run's losses are safe and what breaks the others, in at most `WIDEST` columns."""
    to = to or console()
    to.print(answer(run, min(to.width, WIDEST)), highlight=False, soft_wrap=True)


def answer(run: Run, width: int) -> Text:
    """Return the losses of a run by worst grade, each with the deciding case, in lines of at most ``width`` columns.

    Each dtype, mode and device of the run has a table.
    """
    source = Measurements.of_parts([run.whole_parts()[0]])
    cases = run.cases().drop_duplicates("case").set_index("case")
    graded = source.cells[source.cells["graded"] > 0]
    columns = [Column(*line) for line in graded[["dtype", "mode", "device"]].drop_duplicates().itertuples(index=False)]
    tables = [(column, safety(source, column)) for column in columns]
    scopes = [f"{count_cases(*case_counts(source, column))} in {', '.join(column)}." for column in columns]
    lines = [
        line
        for scope, (_, table) in zip(scopes, tables, strict=True)
        for line in (*_table(table, scope, cases, width), Text())
    ]
    lines += [Text(line) for note in _notes(run.manifest, source, len(cases)) for line in textwrap.wrap(note, width)]
    return Text("\n").join([*lines, Text(), *_next_steps(run.folder, tables)])


def _table(table: pd.DataFrame, scope: str, cases: pd.DataFrame, width: int) -> Iterator[Text]:
    """The losses of one dtype, mode and device, grade by grade; ``scope`` says where they were measured."""
    yield Text(f"{len(table)} losses: which are safe, and what breaks the others?", style="bold")
    yield from map(Text, textwrap.wrap(f"{scope} Each loss has its worst grade on the cases it supports.", width))
    first = max(len(name.partition("/")[0]) for name in table["implementation"])
    for grade, groups in groupby(grouped(table), key=lambda group: group.grade):
        word, meaning = MEANINGS[grade]
        yield Text()
        yield Text.assemble((f"{grade}  {word}", GRADE_STYLES[grade]), f": {meaning}")
        for group in groups:
            if group.result is not None:
                yield from _reason(group.result, cases, width)
            yield from _losses(group.implementations, first, width)


def _reason(result: Result, cases: pd.DataFrame, width: int) -> Iterator[Text]:
    """The case that decides a grade, its result, and why the case is hard."""
    case = cases.loc[result.case]
    given = [o for o in case["options"].split("; ") if not o.startswith("class indices")]
    options = f" ({', '.join(given)})" if given else ""
    words = f"{result.case}{options}: {outcome(result)}. {case['why']}"
    first, *more = textwrap.wrap(words, width - _INDENT, break_on_hyphens=False)
    head, colon, rest = first.partition(":")
    yield Text.assemble(" " * _INDENT, (head, "bold"), colon, rest)
    yield from (Text(" " * _INDENT + line) for line in more)


def _losses(implementations: Iterable[str], first: int, width: int) -> Iterator[Text]:
    """The losses of each framework; the framework's name takes ``first`` columns."""
    indent = 2 * _INDENT
    room = width - indent - first - 2
    for framework, names in groupby(implementations, key=lambda name: name.partition("/")[0]):
        words = ", ".join(name.partition("/")[2] for name in names)
        lines = textwrap.wrap(words, room, break_long_words=False, break_on_hyphens=False)
        folds = (folded(line, room, "  ") if len(line) > room else line for line in lines)
        for i, line in enumerate("\n".join(folds).split("\n")):
            yield Text(f"{'':{indent}}{framework if i == 0 else '':{first}}  {line}")


def _notes(manifest: Manifest, source: Measurements, cases: int) -> Iterator[str]:
    """Yield notes: losses without a grade, NaN from ignored rows, missing packages, and the limits of a quick run."""
    supported = source.cells[source.cells["unsupported"] < source.cells["lines"]]
    ungraded = supported[supported["graded"] == 0]["implementation"].unique()
    if len(ungraded):
        yield f"Without a grade: {', '.join(ungraded)}; the report has the messages."
    for where, names in lets_nan_through(source).items():
        yield f"NaN from an ignored row reaches {where} in {len(names)} of these losses."
    losses = [name for name in manifest.missing if "/" in name]
    missing = [name for name in manifest.missing if "/" not in name]
    missing += [f"{count(len(losses), 'loss')} whose package is missing"] * bool(losses)
    if missing:
        yield f"Not measured: {', '.join(missing)}; `logitlab doctor` says why and what to install."
    yield f"A quick look at {cases} cases, one of each family: the whole catalogue may find worse."


def _next_steps(folder: Path, tables: Sequence[tuple[Column, pd.DataFrame]]) -> Iterator[Text]:
    """Commands for more, and what each is for."""
    steps = []
    for column, table in tables[:1]:
        worst = table[table["grade"] == table["grade"].max()].dropna(subset="case")
        # Of the losses that one case breaks the last: often PyTorch's, which is imported fastest.
        last = worst[worst["case"] == worst["case"].iloc[:1].sum()].tail(1)
        commands = (explain_command(*line, column) for line in zip(last["case"], last["implementation"], strict=True))
        steps += [(command, "why it breaks there") for command in commands]
    steps.append((report_command([folder], "--all"), "all tables of this run"))
    steps.append(("make report", "every case, dtype and mode; `logitlab run` without make"))
    for command, purpose in steps:
        yield Text(f"  # {purpose}", style="dim")
        yield Text(f"  {command}", style="bold")
