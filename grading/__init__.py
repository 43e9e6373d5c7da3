"""HOW GOOD it is: finiteness, errors in ulp, grades."""

from ._bounds import GRADES, Row, loss_bounds
from ._grade import LOST_FROM, VERDICTS, Graded, grade
from ._invalid import told as told_of_invalid

__all__ = [
    "GRADES",
    "LOST_FROM",
    "VERDICTS",
    "Graded",
    "Row",
    "grade",
    "loss_bounds",
    "told_of_invalid",
]
