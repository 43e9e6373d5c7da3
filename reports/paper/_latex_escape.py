"""Data as LaTeX that prints it."""

import re
from functools import cache
from typing import Any

MAX_LINES = 120  # characters of a name or a message
MAX_UNBROKEN = 9  # characters without a joint; in longer pieces a line break is possible anywhere


def tex(words: object, most: int = MAX_LINES) -> str:
    """Return words as LaTeX on one line; a character without a glyph in pdflatex becomes its number, ``U+4E2D``."""
    printable = "".join(c if c.isprintable() else " " for c in str(words))
    whole = " ".join(printable.split())
    if len(whole) > most:
        whole = f"{whole[: most - 4]} ..."
    return str(_encoder().unicode_to_latex(whole))


def name(words: object) -> str:
    """Return a dotted name as LaTeX, with line breaks allowed at its joints and within long pieces."""
    pieces = re.split(r"(?<=[/._,\-])|(?=\[)|(?<=[a-z])(?=[A-Z])", " ".join(str(words).split())[:MAX_LINES])
    # A break within a piece has a penalty. A character printed as its number is a piece by itself, since it is long.
    short = (re.findall(rf"[^\x00-\x7f]|[\x00-\x7f]{{1,{MAX_UNBROKEN}}}", piece) for piece in pieces)
    breakable = (r"\penalty1000{}".join(map(tex, parts)) for parts in short)
    return r"\allowbreak{}".join(breakable) + "..." * (len(str(words)) > MAX_LINES)


def prose(words: str) -> str:
    """Return a paragraph as LaTeX, with line breaks allowed in long words."""
    return " ".join(map(name, words.split()))


@cache
def _encoder() -> Any:
    from pylatexenc import latexencode  # noqa: PLC0415 - an extra

    # The default fonts of pdflatex have a dash in place of the bar, and the text dagger only as a bitmap.
    words = {ord("|"): r"\textbar", ord("†"): r"\ensuremath{\dagger}"}
    ours = latexencode.UnicodeToLatexConversionRule(latexencode.RULE_DICT, words)
    return latexencode.UnicodeToLatexEncoder(
        conversion_rules=[ours, "defaults"], unknown_char_policy="unihex", unknown_char_warning=False
    )
