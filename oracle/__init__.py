"""What the ANSWER is: exact loss, probabilities and gradient, enclosed by ball arithmetic."""

from .bulk import bulk, require_quad
from .reference import PER_ROW, Exact, Reference, reference
from .stacking import stack_references, without_answers

__all__ = [
    "PER_ROW",
    "Exact",
    "Reference",
    "bulk",
    "reference",
    "require_quad",
    "stack_references",
    "without_answers",
]
