"""HOW GOOD it is: finiteness, errors in ulp, grades."""

from ._bounds import GRADES, Row
from ._grade import VERDICTS, Graded, grade

__all__ = ["GRADES", "VERDICTS", "Graded", "Row", "grade"]
