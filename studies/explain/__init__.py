"""WHERE it went wrong: a computation stage by stage, each stage against its exact value."""

from ._explain import Explainer, ExplainRequest, explain
from ._explanation import COLUMNS, Assessment, Explanation, Failure
from ._show import show

__all__ = ["COLUMNS", "Assessment", "ExplainRequest", "Explainer", "Explanation", "Failure", "explain", "show"]
