"""Words that are data, as LaTeX."""

import re
from functools import cache
from typing import Any

MAX_LINES = 120  # characters of a name or a message
UNBROKEN = 9  # characters without a joint, after which a name may be broken anywhere


def tex(words: object, most: int = MAX_LINES) -> str:
    """Words on one line, as LaTeX that prints them; what pdflatex has no glyph for as its number, ``U+4E2D``."""
    printable = "".join(c if c.isprintable() else " " for c in str(words))
    whole = " ".join(printable.split())
    if len(whole) > most:
        whole = f"{whole[: most - 4]} ..."
    return str(_encoder().unicode_to_latex(whole))


def name(words: object) -> str:
    """A dotted name that may be broken at its joints, and within what has none for long."""
    pieces = re.split(r"(?<=[/._,\-])|(?=\[)|(?<=[a-z])(?=[A-Z])", " ".join(str(words).split())[:MAX_LINES])
    # Within a piece at a price, where nothing else is left; a character that is told by its number is long by itself.
    short = (re.findall(rf"[^\x00-\x7f]|[\x00-\x7f]{{1,{UNBROKEN}}}", piece) for piece in pieces)
    breakable = (r"\penalty1000{}".join(map(tex, parts)) for parts in short)
    return r"\allowbreak{}".join(breakable) + "..." * (len(str(words)) > MAX_LINES)


def prose(words: str) -> str:
    """A paragraph, its long words broken as names are."""
    return " ".join(map(name, words.split()))


@cache
def _encoder() -> Any:
    from pylatexenc import latexencode  # noqa: PLC0415 - an extra

    # The fonts of pdflatex without further packages have a dash where others have the bar.
    # The dagger of text would come from a font of bitmaps.
    words = {ord("|"): r"\textbar", ord("†"): r"\ensuremath{\dagger}"}
    ours = latexencode.UnicodeToLatexConversionRule(latexencode.RULE_DICT, words)
    return latexencode.UnicodeToLatexEncoder(
        conversion_rules=[ours, "defaults"], unknown_char_policy="unihex", unknown_char_warning=False
    )
