"""The stage of a computation that failed first, each stage against its exact value."""

from ._exact import ExactValues, short
from ._rules import broken_rules, first_failures, wrong_result
from ._traced import BrokenRule, ComparedStage, Fix, TracedBatch, final_values, shows_inside

__all__ = [
    "BrokenRule",
    "ComparedStage",
    "ExactValues",
    "Fix",
    "TracedBatch",
    "broken_rules",
    "final_values",
    "first_failures",
    "short",
    "shows_inside",
    "wrong_result",
]
