"""Bitwise invariance: whether a row's results keep their bits in other batches, and with other numbers of threads."""

from ._distance import ulps_apart
from ._rows import LINES, QUICK_WIDTHS, ROWS, THREADS, WIDTHS, Plan, Presented, Rows
from ._trial import Fault, Trial, planned_call, try_width
from ._worker import threads_of

__all__ = [
    "LINES",
    "QUICK_WIDTHS",
    "ROWS",
    "THREADS",
    "WIDTHS",
    "Fault",
    "Plan",
    "Presented",
    "Rows",
    "Trial",
    "planned_call",
    "threads_of",
    "try_width",
    "ulps_apart",
]
