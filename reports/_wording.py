"""Grades, results and names in words: the same in the terminal, in Markdown and on the site."""

from collections.abc import Sequence

from ..core.counting import count
from ..core.vocabulary import Grade, Quantity, Verdict, in_words
from .charts.style import shortened
from .tables.safety import Result

# The meaning of each grade for a user who chooses a loss, in a word or two, and in full.
MEANINGS = {
    Grade.A: ("safe", "all digits are right, up to a few roundings"),
    Grade.B: ("safe", "only tiny numbers lose digits, such as a loss near 0"),
    Grade.C: ("loses digits", "where the logits are large or share an offset"),
    Grade.D: ("inaccurate", "finite, but wrong by more than large logits explain"),
    Grade.F: ("breaks", "NaN or infinite where the answer is finite, or the reverse"),
}
SAFE = (Grade.A, Grade.B)
_WRONG: dict[str, str] = {
    Verdict.NAN: "is NaN",
    Verdict.OVERFLOW: "is infinite",
    Verdict.UNDERFLOW: "is 0 where it is not",
    Verdict.SWALLOWED: "is finite where it may not be",
    Verdict.WRONG_SIGN: "has the wrong sign",
    Verdict.LOST: "has no digit right",
}


def outcome(result: Result) -> str:
    """The fault of a result of `safety`, in words: ``the loss is inf where 2000 is exact``."""
    verdict = result.verdict  # a damaged run may have other words than `Verdict`
    if result.quantity != Quantity.LOSS:
        fault = _WRONG.get(verdict, f"is off by {result.max_ulp:,.0f} ulp")
        return f"an entry of the {in_words(result.quantity)} {fault}"
    subject = "the loss" if result.row >= 0 else "the reduced loss"
    if verdict == Verdict.NAN:
        return f"{subject} is NaN where {result.exact:.4g} is exact"
    value, right = _different_digits(result.value, result.exact)
    return f"{subject} is {value} where {right} is exact"


def _different_digits(value: float, exact: float) -> tuple[str, str]:
    """Two numbers in as few digits as show that they differ."""
    for digits in range(4, 17):
        pair = f"{value + 0.0:.{digits}g}", f"{exact:.{digits}g}"  # a computed -0 is a 0
        if pair[0] != pair[1]:
            break
    return pair


def count_cases(measured: int, graded: int) -> str:
    """``28 cases (27 graded)``: some cases have no exact answer, and so no grade."""
    return count(measured, "case") + (f" ({graded:,} graded)" if graded < measured else "")


def fitting(names: Sequence[str], room: int, quotes: int = 0) -> tuple[list[str], int]:
    """Return names that fit into ``room`` characters, and how many are left over.

    If not all fit, the shortest come first: more of them fit, and popular losses have short names. At least one name
    is returned, shortened if need be. ``quotes`` is how many characters the caller puts around each name.
    """
    whole = [shortened(name, 10_000) for name in names]
    if sum(map(len, whole)) + (quotes + len(", ")) * len(whole) - len(", ") <= room:
        return whole, 0
    shown: list[str] = []
    used = 0
    for name in sorted(whole, key=len):
        left = len(whole) - len(shown) - 1
        free = room - used - quotes - len(and_more(left))
        if len(name) > free and shown:
            break
        shown.append(shortened(name, max(free, 12)))
        used += len(shown[-1]) + quotes + len(", ")
    return shown, len(whole) - len(shown)


def and_more(count: int) -> str:
    """The end of a list that leaves some names out: `` and 7 more``."""
    return f" and {count:,} more" if count > 0 else ""


def listed(names: Sequence[str], width: int, most: int = 1) -> list[str]:
    """Names in at most so many lines of this width; the last line counts those left out: ``torch/naive and 7 more``."""
    lines = _filled(names, width)
    if len(lines) <= most:
        return [", ".join(line) + "," * (line is not lines[-1]) for line in lines]
    *first, _ = _filled(sorted(names, key=len), width)[:most]
    used = sum(map(len, first))
    shown, more = fitting(sorted(names, key=len)[used:], width)
    return [*(", ".join(line) + "," for line in first), ", ".join(shown) + and_more(more)]


def _filled(names: Sequence[str], width: int) -> list[list[str]]:
    """Names in lines of this width, each name with a comma and a space behind it."""
    lines: list[list[str]] = [[]]
    used = 0
    for name in (shortened(each, width - 1) for each in names):
        if used + len(name) + 1 > width and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append(name)
        used += len(name) + len(", ")
    return lines
