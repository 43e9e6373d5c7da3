"""Reports of a run for terminals, pull requests, papers, notebooks and the web."""

from ._answer import show_answer
from ._render import FORMATS, write
from ._report import Report, make_report, partial, tables
from ._style import style
from .tables.bitwise import bitwise
from .tables.distributions import distributions
from .tables.errors import errors, finiteness
from .tables.grades import grade_matrix
from .tables.ignored import ignored_rows, lets_nan_through
from .tables.outcomes import article, faults, invalid_targets
from .tables.safety import safety
from .tables.sections import Section, sections

__all__ = [
    "FORMATS",
    "Report",
    "Section",
    "article",
    "bitwise",
    "distributions",
    "errors",
    "faults",
    "finiteness",
    "grade_matrix",
    "ignored_rows",
    "invalid_targets",
    "lets_nan_through",
    "make_report",
    "partial",
    "safety",
    "sections",
    "show_answer",
    "style",
    "tables",
    "write",
]
