"""A loss of one's own against the catalogue: what it is worth, what broke, and the smallest row that shows it."""

from ._check import CheckResult, check
from ._loss import named
from ._show import show, text, write

__all__ = ["CheckResult", "check", "named", "show", "text", "write"]
