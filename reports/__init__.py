"""What people read: tables made from a run, for terminals, pull requests, papers and notebooks."""

from ._ignored import ignored_rows, lets_nan_through
from ._page import Page, page, partial, tables
from ._render import FORMATS, write
from ._sections import Section, sections
from ._style import style
from ._tables import article, errors, faults, finiteness, grade_matrix, invalid_targets

__all__ = [
    "FORMATS",
    "Page",
    "Section",
    "article",
    "errors",
    "faults",
    "finiteness",
    "grade_matrix",
    "ignored_rows",
    "invalid_targets",
    "lets_nan_through",
    "page",
    "partial",
    "sections",
    "style",
    "tables",
    "write",
]
