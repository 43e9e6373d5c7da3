"""A loss of one's own against the catalogue: what it is worth, what broke, and the smallest row that shows it."""

from ._check import check
from ._loss import load_framework, named
from ._result import CheckResult, prepare, show, write

__all__ = ["CheckResult", "check", "load_framework", "named", "prepare", "show", "write"]
