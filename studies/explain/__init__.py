"""``logitlab explain``: compare a computation with the exact values, stage by stage."""

from ._explain import Explainer, ExplainRequest, explain
from ._explanation import COLUMNS, Assessment, Explanation, Failure
from ._show import show

__all__ = ["COLUMNS", "Assessment", "ExplainRequest", "Explainer", "Explanation", "Failure", "explain", "show"]
