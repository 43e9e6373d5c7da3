"""What the ANSWER is: exact loss, probabilities and gradient, enclosed by ball arithmetic."""

from .bulk import bulk, must_be_there
from .reference import PER_ROW, Exact, Reference, reference
from .stacking import stack_references, without_answers

__all__ = [
    "PER_ROW",
    "Exact",
    "Reference",
    "bulk",
    "must_be_there",
    "reference",
    "stack_references",
    "without_answers",
]
