"""Tables of Markdown, and data as code spans: markup, links and mentions in it stay plain text."""

import re
from collections.abc import Iterable

from .charts.style import shortened

MAX_CELL = 80  # characters of a table's cell


def code_span(text: object, most: int = MAX_CELL) -> str:
    """Return data as a code span of at most ``most`` characters on one line, also for a cell of a table."""
    line = shortened(str(text).replace("`", "'"), most - 2)
    # A bar ends a cell even in code, and a backslash before the bar would escape the backslash that escapes it.
    return "`" + re.sub(r"\\*\|", r"\\|", line) + "`"


def pipe_table(rows: Iterable[Iterable[object]]) -> str:
    """Return a table of rows of escaped words, without padding; the second row is the rule below the head."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
