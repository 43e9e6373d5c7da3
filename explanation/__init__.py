"""WHERE it went wrong: a computation stage by stage, each stage against its exact value."""

from ._explain import COLUMNS, Explanation, Failure, explain
from ._first import first_failures
from ._show import show

__all__ = ["COLUMNS", "Explanation", "Failure", "explain", "first_failures", "show"]
