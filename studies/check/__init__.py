"""``logitlab check``: grade a user's own loss on the catalogue, and find the smallest row that fails."""

from ._check import check
from ._loss import load_framework, named
from ._result import CheckResult, prepare, show, write

__all__ = ["CheckResult", "check", "load_framework", "named", "prepare", "show", "write"]
