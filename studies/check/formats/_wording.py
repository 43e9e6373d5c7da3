"""The sentences of a check that several formats share."""

from collections.abc import Sequence

from .._result import CheckResult
from ..bitwise import BitwiseResult
from ..linear import LinearCheckResult
from ._requirements import Requirement


def headline(result: CheckResult) -> str:
    """Return the result in one line, as the text starts."""
    return f"{result.name}: {verdict(result)} ({where(result)})"


def verdict(result: CheckResult) -> str:
    """Return ``passed, grade B required`` or ``FAILED, ...``."""
    required = "equal bits" if isinstance(result, BitwiseResult) else str(result._required)
    return f"{'passed' if result.passed else 'FAILED'}, {required} required"


def where(result: CheckResult) -> str:
    """Return the framework, its version, the device and the mode."""
    problem = ", of hidden states" if isinstance(result, LinearCheckResult) else ""
    return f"{result.framework} {result.version}, {result.device}, {result.mode}{problem}"


def about(some: Sequence[Requirement]) -> str:
    """Return how many lines fail a requirement in each dtype, and on further lines the worst of each dtype."""
    counts = "; ".join(each.counts for each in some if each.rows)
    return "\n".join(filter(None, (counts, *(each.example for each in some))))
