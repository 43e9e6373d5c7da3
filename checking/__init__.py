"""A loss of one's own against the catalogue: what it is worth, what broke, and the smallest row that shows it."""

from ._check import CheckResult, check

__all__ = ["CheckResult", "check"]
