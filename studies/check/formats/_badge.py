"""A check as a badge: an SVG picture with the name of the loss and its grade in each dtype."""

from html import escape

from ....core.vocabulary import GRADES, Grade
from ....reports.charts.palette import GRADE_COLOURS, INK
from .._result import CheckResult
from ..bitwise import BitwiseResult
from ..judging._wording import unsupported_dtypes

HEIGHT, PAD = 20, 6  # pixels
CHARACTER = 6.3  # pixels: the mean width in the font below; `textLength` fits other fonts to it
MAX_NAME = 60  # characters
FONT = "Verdana, 'DejaVu Sans', Geneva, sans-serif"
DARK, LIGHT = "#3a3f47", "#ffffff"  # behind and in the name, at a contrast of 10 to 1
NEUTRAL = "#d0d5dc"  # for a result without a grade, at a contrast of 14 to 1

# Without shadows and gradients the file stays small, and legible at any size.
_TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" aria-label="{title}">
<title>{title}</title>
<clipPath id="r"><rect width="{width}" height="{height}" rx="3"/></clipPath>
<g clip-path="url(#r)">
<rect width="{left}" height="{height}" fill="{dark}"/>
<rect x="{left}" width="{right}" height="{height}" fill="{colour}"/>
</g>
<g font-family="{font}" font-size="11" text-anchor="middle">
<text x="{left_middle}" y="14" fill="{light}" textLength="{left_text}">{name}</text>
<text x="{right_middle}" y="14" fill="{ink}" textLength="{right_text}">{grade}</text>
</g>
</svg>
"""


def badge(result: CheckResult) -> str:
    """Return the badge: the name, and the dtypes of each grade, the worst first and in its colour."""
    name = result.name if len(result.name) <= MAX_NAME else f"{result.name[: MAX_NAME - 3]}..."
    grade, colour = _grade(result)
    left_text, right_text = (round(len(text) * CHARACTER) for text in (name, grade))
    left, right = left_text + 2 * PAD, right_text + 2 * PAD
    return _TEMPLATE.format(
        title=escape(f"{name}: {grade}"), name=escape(name), grade=escape(grade),
        width=left + right, height=HEIGHT, left=left, right=right,
        left_text=left_text, right_text=right_text, left_middle=left / 2, right_middle=left + right / 2,
        dark=DARK, light=LIGHT, colour=colour, ink=INK, font=escape(FONT, quote=False),
    )  # fmt: skip


def _grade(result: CheckResult) -> tuple[str, str]:
    """Return the grades in words, and the colour of the worst."""
    if isinstance(result, BitwiseResult):
        return ("bits equal", GRADE_COLOURS[Grade.A]) if result.passed else ("bits differ", GRADE_COLOURS[Grade.F])
    refused = unsupported_dtypes(result.lines)
    dtypes: dict[str, list[str]] = {}
    for dtype, grade in result.grades.items():
        if dtype not in refused:
            dtypes.setdefault(grade, []).append(dtype)
    worst_first = sorted(dtypes, key=lambda grade: GRADES.index(grade) if grade in GRADES else len(GRADES))[::-1]
    words = ", ".join(f"{grade} {' '.join(dtypes[grade])}" for grade in worst_first) or "not measured"
    return words, GRADE_COLOURS.get(worst_first[0], NEUTRAL) if worst_first else NEUTRAL
