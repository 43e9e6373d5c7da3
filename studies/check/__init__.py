"""``logitlab check``: grade a user's own loss on the catalogue, and find the smallest row that fails."""

from ._check import check
from ._files import assigned, output_named
from ._form import Layout, Returns, TargetKind
from ._named import load_framework, named
from ._result import CheckResult, prepare, show, write

__all__ = [
    "CheckResult", "Layout", "Returns", "TargetKind", "assigned", "check", "load_framework", "named", "output_named",
    "prepare", "show", "write",
]  # fmt: skip
