"""What the ANSWER is: exact loss, probabilities and gradient, enclosed by ball arithmetic."""

from ._answer import PER_ROW, Exact, Reference, per_row
from .bulk import bulk, require_quad
from .reference import reference
from .stacking import stack_references, without_answers

__all__ = [
    "PER_ROW",
    "Exact",
    "Reference",
    "bulk",
    "per_row",
    "reference",
    "require_quad",
    "stack_references",
    "without_answers",
]
