"""``logitlab check``: grade a user's own loss on the catalogue, and find the smallest row that fails."""

from ._check import check
from ._result import CheckResult, prepare, show, write
from .bitwise import BitwiseResult
from .forms._files import assigned, output_named
from .forms._form import Layout, Returns, TargetKind
from .forms._named import load_framework, named
from .linear import LinearCheckResult, WeightLayout

__all__ = [
    "BitwiseResult", "CheckResult", "Layout", "LinearCheckResult", "Returns", "TargetKind", "WeightLayout", "assigned",
    "check", "load_framework", "named", "output_named", "prepare", "show", "write",
]  # fmt: skip
