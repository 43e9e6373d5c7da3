"""HOW GOOD it is: finiteness, errors in ulp, grades."""

from ._bounds import GRADES, Row
from ._grade import VERDICTS, Graded, grade
from ._invalid import told as told_of_invalid

__all__ = ["GRADES", "VERDICTS", "Graded", "Row", "grade", "told_of_invalid"]
