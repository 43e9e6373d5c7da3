"""HOW GOOD a result is: finiteness, errors in ulp, grades."""

from ._analysis import FUNCTION_ROUNDINGS, apriori_bounds, stability_ratio
from ._conduct import conduct, describe_empty_mean, describe_ignored_row, describe_reach, invalid_target_answers
from ._grade import LOST_FROM, Graded, grade, grade_by
from ._linear import LinearStandards
from ._margin import Margin, margin
from ._standard import Standard

__all__ = [
    "FUNCTION_ROUNDINGS",
    "LOST_FROM",
    "Graded",
    "LinearStandards",
    "Margin",
    "Standard",
    "apriori_bounds",
    "conduct",
    "describe_empty_mean",
    "describe_ignored_row",
    "describe_reach",
    "grade",
    "grade_by",
    "invalid_target_answers",
    "margin",
    "stability_ratio",
]
