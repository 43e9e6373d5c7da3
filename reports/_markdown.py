"""The Markdown of a pull request: at most 40 lines for any run, and the command that prints the rest."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from ..core.counting import count
from ..core.vocabulary import GRADES, Grade, Status
from ._report import PARTIAL, Report
from ._summary import UNGRADED, Group, Summary
from ._wording import and_more, fitting, outcome
from .markdown_code import MAX_CELL, code_span, pipe_table
from .tables.outcomes import faults

MAX_LINES = 40
MAX_RUNS, MAX_COUNTS, MAX_FAULTS = 2, 6, 3  # lines
MIN_GROUPS = 3  # lines of the table of grades
MAX_CASE, MAX_FACTS, MAX_DAMAGE = 40, 300, 200  # characters
_TABLE = 5  # lines around the lines of a table: its title, its heading and the empty lines


def markdown(found: Report, *, whole: bool = False) -> str:
    """Return a report as Markdown: three findings first, then the losses by grade, other dtypes, and what failed.

    At most `MAX_LINES` lines; with ``whole``, every line and every name.
    """
    summary = found.summary
    failed = _faults(faults(found.source), None if whole else MAX_FAULTS)
    counts = pd.DataFrame() if summary is None else _counts(summary.counts, None if whole else MAX_COUNTS)
    top = ["# LogitLab report", *_partial(found), *_findings(found, summary)]
    after = [("Losses of each grade by dtype, mode and device", counts), ("Not measured", failed)]
    below = [_runs(found), _rest(found, whole=whole)]
    grades = pd.DataFrame()
    if summary is not None:
        taken = sum(part.count("\n") + 2 for part in [*top, *below])
        taken += sum(len(table) + _TABLE for _, table in after if len(table)) + _TABLE
        most = None if whole else max(MAX_LINES - taken, MIN_GROUPS)
        grades = _grades(summary, most)
    parts = [*top]
    for title, table in [("Losses by grade", grades), *after]:
        if len(table):
            parts += [f"## {title}", _table(table)]
    return "\n\n".join([*parts, *below]) + "\n"


def _table(table: pd.DataFrame) -> str:
    """A table of escaped words, without padding."""
    lines: list[Iterable[object]] = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return pipe_table(lines)


def _names(names: Sequence[str], most: int | None) -> str:
    """Names as code spans in at most so many characters, and how many more there are."""
    if most is None:
        return ", ".join(code_span(name, 1000) for name in names)
    shown, left = fitting(names, most, quotes=2)
    # A bar is escaped by one more character.
    return ", ".join(map(code_span, shown)) + and_more(left)


def _partial(found: Report) -> Iterator[str]:
    """Yield one line about missing or damaged parts of the runs, if any."""
    if found.damage:
        yield f"**{PARTIAL}**: {code_span(found.damage[0], MAX_DAMAGE)}{and_more(len(found.damage) - 1)}"


def _findings(found: Report, summary: Summary | None) -> Iterator[str]:
    """The three things that matter: how many losses are safe, what breaks most, and what a grade does not show."""
    if summary is None:
        yield "Nothing could be graded."
        return
    where = f"{code_span(summary.column.mode)}, {code_span(summary.column.device)}"
    lines = [f"**{summary.headline}** ({where}): grade A or B on each of {count(summary.graded, 'graded case')}."]
    if summary.scope:
        lines[0] += f" {summary.scope}"
    lines[0] += "".join(f" {note}" for note in found.notes)
    if summary.unsafe:
        worst = summary.unsafe[0]
        lines.append(
            f"**{count(len(worst.implementations), 'loss')}** get {worst.grade} on {_case(worst)}: {_outcome(worst)}. "
            f"{_others(summary)}"
        )
    else:
        lines.append("**Nothing breaks**: no loss has grade C, D or F.")
    lines.append(_caveat(found, summary))
    yield "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))


def _others(summary: Summary) -> str:
    """The number of losses of each grade that is not safe."""
    counts = {
        grade: sum(len(group.implementations) for group in summary.unsafe if group.grade == grade)
        for grade in (Grade.F, Grade.D, Grade.C)
    }
    return f"In all: {', '.join(f'{number:,} {grade}' for grade, number in counts.items() if number)}."


def _caveat(found: Report, summary: Summary) -> str:
    """Return the most important fact that the grades do not show: NaN from ignored rows, or unsupported calls."""
    if summary.ignored:
        reached = "; ".join(f"{where} in {count(len(names), 'loss')}" for where, names in summary.ignored.items())
        return f"**NaN from an ignored row** reaches {reached}."
    unsupported = int(found.source.cells["unsupported"].sum())
    return f"**Unsupported by the framework**: {count(unsupported, 'measurement')}, without a grade."


def _case(group: Group) -> str:
    return code_span(group.result.case, MAX_CASE) if group.result else ""


def _outcome(group: Group) -> str:
    return outcome(group.result) if group.result else ""


def _grades(summary: Summary, most: int | None) -> pd.DataFrame:
    """The losses by grade and deciding case, the worst first, in at most so many lines."""
    groups = _merged(summary.groups, most)
    lines = [
        {
            "grade": f"**{group.grade}**" if group.grade == Grade.F else str(group.grade),
            "count": len(group.implementations),
            "losses": _names(group.implementations, None if most is None else MAX_CELL),
            "case": _case(group),
            "result": _outcome(group),
        }
        for group in groups
    ]
    return pd.DataFrame(lines)


def _merged(groups: Sequence[Group], most: int | None) -> list[Group]:
    """The groups in at most so many lines: the smallest of a grade become one line without a case."""
    merged = list(groups)
    while most is not None and len(merged) > max(most, len(GRADES)):
        several = [g for g in merged if sum(other.grade == g.grade for other in merged) > 1]
        small = sorted(several, key=lambda g: len(g.implementations))[:1]
        grade = small[0].grade
        one, other = [g for g in merged if g.grade == grade][-2:]
        merged[merged.index(one)] = Group(grade, None, one.implementations + other.implementations)
        merged.remove(other)
    return merged


def _counts(table: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """How many losses have each grade in each dtype, mode and device, where there are several of these."""
    if len(table) < 2:
        return pd.DataFrame()
    shown = table if table[UNGRADED].any() else table.drop(columns=UNGRADED)
    shown = shown.assign(label=shown["label"].map(code_span)).rename(columns={"label": "measured in"})
    return _cut(shown, most)


def _faults(table: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """The calls that raised, crashed or ran out of time, the most frequent first."""
    failed = table[table["status"] != Status.UNSUPPORTED].sort_values("cases", ascending=False, kind="stable")
    room = MAX_CELL if most is not None else 1000
    lines = {
        "implementation": failed["implementation"].map(lambda name: code_span(name, room)),
        "status": failed["status"],
        "message": failed["detail"].map(lambda detail: code_span(textwrap.shorten(str(detail), room - 2), room)),
        "cases": failed["cases"],
    }
    return _cut(pd.DataFrame(lines), most)


def _cut(table: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """The first lines, and a last line that counts the others."""
    if most is None or len(table) <= most:
        return table
    rest = dict.fromkeys(table.columns, "") | {table.columns[0]: and_more(len(table) - most + 1).strip()}
    return pd.concat([table.head(most - 1).astype(object), pd.DataFrame([rest])], ignore_index=True)


def _runs(found: Report) -> str:
    """Return a line for each run: packages, machine and number of cases."""
    lines = []
    for m in found.manifests[:MAX_RUNS]:
        cases = count(len(m.catalogue["cases"]), "case")
        facts = f"{m.run}: LogitLab {m.logitlab}; {m.package_versions}; {m.machine}; {cases}"
        lines.append(f"Run {code_span(facts, MAX_FACTS)}" + ("" if m.complete else " **NOT COMPLETE**"))
    return "  \n".join(lines) + and_more(len(found.manifests) - MAX_RUNS)


def _rest(found: Report, *, whole: bool) -> str:
    """Return the facts that the page leaves out, and the commands that print them."""
    own = list(dict.fromkeys(name for m in found.manifests for name in m.conventions))
    parts = []
    if own:
        parts.append(f"Graded by its documented weighted mean: {_names(own, None if whole else MAX_CELL)}.")
    unsupported = int(found.source.cells["unsupported"].sum())
    if unsupported:
        parts.append(f"Reported as unsupported by the framework: {count(unsupported, 'measurement')}.")
    rows = int(found.source.cells["graded"].sum())
    command = "logitlab report RUN --format csv" if whole else "logitlab report RUN --all"
    parts.append(f"{count(rows, 'graded row')} in all: `{command}` {'writes' if whole else 'prints'} every table.")
    return " ".join(parts)
