"""What people read: tables made from a run, as text, Markdown and CSV."""

from ._render import FORMATS, write
from ._tables import Section, article, errors, faults, finiteness, grade_matrix, invalid_targets, sections

__all__ = [
    "FORMATS",
    "Section",
    "article",
    "errors",
    "faults",
    "finiteness",
    "grade_matrix",
    "invalid_targets",
    "sections",
    "write",
]
