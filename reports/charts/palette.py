"""The colours of all reports: Okabe and Ito's, which any colour vision tells apart.

Colour is never the only sign: grades are letters too, and formulas differ in dashes and points.
"""

from ...core.vocabulary import GRADES, Formula

_VERMILION, _ORANGE, _GREEN, _SKY, _BLUE, _PURPLE = "#d55e00", "#e69f00", "#009e73", "#56b4e9", "#0072b2", "#cc79a7"
GRADE_COLOURS = dict(zip(GRADES, (_GREEN, _SKY, _ORANGE, _VERMILION, _PURPLE), strict=True))
INK = "#000000"  # on each of these colours, at a contrast of at least 5 to 1
MISSING = "#eeeeee"  # behind a missing grade
FORMULA_COLOURS = {
    Formula.NAIVE: _VERMILION,
    Formula.LSE: _BLUE,
    Formula.LOG1P: _PURPLE,
    Formula.ONLINE: _ORANGE,
    Formula.BUILTIN: _GREEN,
}
