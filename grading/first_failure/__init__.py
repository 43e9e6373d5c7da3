"""The stage of a computation that failed first, each stage against its exact value."""

from ._compared_stage import ComparedStage
from ._exact import ExactValues, short
from ._first import first_failures
from ._rules import broken_rules, wrong_result
from ._traced_batch import TracedBatch, final_values, shows_inside
from ._traced_row import BrokenRule, Fix

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
