"""The colours of everything people read: Okabe and Ito's, told apart with any colour vision.

Nothing is said by colour alone: grades are letters too, formulas differ in their dashes and points.
"""

from __future__ import annotations

GRADE_COLOURS = {"A": "#009e73", "B": "#56b4e9", "C": "#e69f00", "D": "#d55e00", "F": "#cc79a7"}
INK = "#000000"  # on every one of them, at a contrast of at least 5 to 1
MISSING = "#eeeeee"  # behind what has no grade
FORMULA_COLOURS = {"naive": "#d55e00", "lse": "#0072b2", "log1p": "#cc79a7", "builtin": "#009e73"}
