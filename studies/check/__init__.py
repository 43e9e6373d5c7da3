"""``logitlab check``: grade a user's own loss on the catalogue, and find the smallest row that fails."""

from ._check import check
from ._last_failed import keep_failed, last_failed
from ._result import CheckResult, prepare, show, write
from .bitwise import BitwiseResult
from .formats import DOCUMENTS, FORMATS, file_names, write_formats
from .forms._files import assigned, output_named
from .forms._form import Layout, Returns, TargetKind
from .forms._named import load_framework, location, named
from .linear import LinearCheckResult, WeightLayout

__all__ = [
    "DOCUMENTS", "FORMATS", "BitwiseResult", "CheckResult", "Layout", "LinearCheckResult", "Returns", "TargetKind",
    "WeightLayout", "assigned", "check", "file_names", "keep_failed", "last_failed", "load_framework", "location",
    "named", "output_named", "prepare", "show", "write", "write_formats",
]  # fmt: skip
