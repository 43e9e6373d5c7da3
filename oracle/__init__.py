"""The exact ANSWER: loss, probabilities and gradient, enclosed by ball arithmetic."""

from ._answer import PER_ROW, Exact, Reference, per_row, stack_references, without_answers
from .bulk import bulk, require_quad
from .linear import LinearReference, linear_reference
from .reference import reference

__all__ = [
    "PER_ROW",
    "Exact",
    "LinearReference",
    "Reference",
    "bulk",
    "linear_reference",
    "per_row",
    "reference",
    "require_quad",
    "stack_references",
    "without_answers",
]
