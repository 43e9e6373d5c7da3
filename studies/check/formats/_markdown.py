"""A check as Markdown for a pull request: the grades, the broken requirements, and the program that shows a failure."""

import re
from collections.abc import Iterator

from ....reports.markdown_code import code_span, pipe_table
from .._result import CheckResult
from ..bitwise import BitwiseResult
from ._requirements import broken
from ._wording import verdict, where

MAX_BROKEN = 12  # lines
MAX_PROGRAM = 20_000  # characters: a comment of GitHub holds 65,536
MAX_EXAMPLE = 160


def markdown(result: CheckResult) -> str:
    """Return the result, a table of grades, a table of broken requirements, and the program folded up."""
    sign = "✅" if result.passed else "❌"
    parts = [
        f"### {sign} LogitLab: {code_span(result.name)} {verdict(result)}",
        f"Measured with {code_span(where(result), 200)}.{_notes(result)}",
    ]
    parts += [*_grades(result), *_broken(result), *_program(result)]
    return "\n\n".join(parts) + "\n"


def _notes(result: CheckResult) -> str:
    notes = []
    if result.options:
        notes.append(f" With and without {', '.join(map(code_span, result.options))}.")
    if str(result.limits):
        notes.append(f" Limited to {result.limits}.")
    if not result.complete:
        notes.append(" Stopped before the end: the grades cover only the batches tried so far.")
    return "".join(notes)


def _grades(result: CheckResult) -> Iterator[str]:
    """Yield a table with a line for each dtype."""
    grades = result.grades_by_quantity
    quantities = list(dict.fromkeys(q for of_dtype in grades.values() for q in of_dtype))
    failed, rows = result.failures["dtype"].value_counts(), result.lines["dtype"].value_counts()
    if isinstance(result, BitwiseResult) or not grades:
        return
    lines = [["dtype", *(q.replace("_", " ") for q in quantities), "rows", "failed"], ["---"] * (len(quantities) + 3)]
    for dtype, of_dtype in grades.items():
        cells = (of_dtype.get(q, "-") for q in quantities)
        lines.append([dtype, *cells, f"{rows[dtype]:,}", f"{int(failed.get(dtype, 0)):,}"])
    yield pipe_table(lines)


def _broken(result: CheckResult) -> Iterator[str]:
    """Yield a table with a line for each broken requirement."""
    found = broken(result)
    if not found:
        return
    lines = [["not met", "where", "for example"], ["---"] * 3]
    for some in list(found.values())[:MAX_BROKEN]:
        counts = "; ".join(each.counts for each in some if each.rows)
        lines.append([code_span(some[0].name), counts, code_span(some[0].example, MAX_EXAMPLE)])
    yield pipe_table(lines)
    if len(found) > MAX_BROKEN:
        yield f"{len(found) - MAX_BROKEN} more requirements are not met."


def _program(result: CheckResult) -> Iterator[str]:
    script = result.script
    if script is None or len(script) > MAX_PROGRAM:
        return
    longest = max(map(len, re.findall("`+", script)), default=0)
    fence = "`" * max(3, longest + 1)
    title = "A program that reproduces the failure without LogitLab"
    yield f"<details><summary>{title}</summary>\n\n{fence}python\n{script.rstrip()}\n{fence}\n\n</details>"
