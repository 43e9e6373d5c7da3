"""The words of a report for calls without a grade: what raised or is unsupported, on how many rows, and why."""

import re
import textwrap
from collections.abc import Iterator

import pandas as pd

from ....core.counting import count
from ....core.vocabulary import Status, worst_grade
from ..measuring._lines import each_line

_NUMBER = r"\d+"  # numbers in a message change with the size of the input
MESSAGES = 10  # shown messages of one kind


def wrapped(words: str, width: int) -> str:
    """Return the words in lines that break between words only."""
    return "\n".join(textwrap.wrap(words, width, subsequent_indent="    ", break_on_hyphens=False))


def message_key(message: str) -> str:
    """Return a key that is equal for messages that differ in numbers only."""
    return re.sub(_NUMBER, "#", message)


def outcome(lines: pd.DataFrame) -> str:
    """Return the worst grade of some lines, and on how many rows the loss raised: ``raised on 3 rows; B elsewhere``."""
    if lines.empty:
        return "-"
    written = lines["written"].notna() & lines["status"].eq(Status.RAISED)  # allowed writes have another status
    grade = worst_grade(lines["grade"])
    parts = []
    for status in (Status.RAISED, Status.UNSUPPORTED):
        some = lines[lines["status"].eq(status) & ~written]
        if not some.empty:
            parts.append(f"{status} on {'all rows' if len(some) == len(lines) else rows_of(some)}")
    parts += [f"writes into its {argument}" for argument in lines.loc[written, "written"].unique()]
    if grade is None:
        return "; ".join(parts) or "-"
    return "; ".join([*parts, f"{grade} elsewhere"]) if parts else str(grade)


def rows_of(lines: pd.DataFrame) -> str:
    """Return the number of rows that some lines are of, and their width: ``35 rows, all of 1 class``."""
    number, widths = len(lines[["dtype", "case", "row"]].drop_duplicates()), lines["classes"].unique()
    rows = count(number, "row")
    if len(widths) > 1:
        return rows
    classes = count(int(widths[0]), "class")
    return f"{rows}, all of {classes}" if number > 1 else f"{rows} of {classes}"


def unsupported_dtypes(lines: pd.DataFrame) -> dict[str, str]:
    """Return the message of each dtype in which no call is supported."""
    refused = lines["status"].eq(Status.UNSUPPORTED)
    whole = refused.groupby(lines["dtype"], sort=False).all()
    return {str(dtype): str(lines.loc[lines["dtype"] == dtype, "detail"].iloc[0]) for dtype in whole.index[whole]}


def messages(lines: pd.DataFrame) -> Iterator[str]:
    """Yield each message of calls without a result once, with its rows; without dtypes that are not supported."""
    some = lines[~lines["status"].eq(Status.OK) & ~lines["dtype"].isin(list(unsupported_dtypes(lines)))]
    for status, title in ((Status.RAISED, "Raised:"), (Status.UNSUPPORTED, "Unsupported, in the words of the loss:")):
        of_status = some[some["status"] == status]
        if of_status.empty:
            continue
        yield title
        kinds = [kind for _, kind in of_status.groupby(of_status["detail"].map(message_key), sort=False)]
        for kind in kinds[:MESSAGES]:
            line = next(each_line(kind))
            yield f"{line.detail} ({rows_of(kind)}; such as {line.named})"
        if len(kinds) > MESSAGES:
            yield f"and {len(kinds) - MESSAGES:,} other messages, which the table of failures lists"
