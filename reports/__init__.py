"""What people read: tables made from a run, as text, Markdown and CSV."""

from ._page import Page, page
from ._render import FORMATS, write
from ._sections import Section, sections
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
    "invalid_targets",
    "page",
    "sections",
    "write",
]
