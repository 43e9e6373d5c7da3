"""LogitLab: every softmax cross-entropy, run on extreme logits and measured against the exact answer.

::

    import logitlab

    df = logitlab.run(frameworks=["torch"], dtypes=["float32"], cases="overflow/*")
    ref = logitlab.reference(logits, targets)
    logitlab.catalogue()
    logitlab.implementations()
    logitlab.check(my_loss, framework="torch").failures
    logitlab.compare(df_before, df_after).regressions
    logitlab.hunt("torch/F.cross_entropy", "bfloat16", seconds=60).findings
    logitlab.assert_conforms(my_loss, framework="torch", require="B")  # in a test
    logitlab.style(df)
    logitlab.tables("runs/mine")["grades"]
    logitlab.query("runs/mine", "SELECT dtype, max(max_ulp) FROM measurements GROUP BY dtype")
    logitlab.read("runs/mine", columns=["case", "row", "value"], where="grade = 'F'")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    from .checking import CheckResult, check
    from .comparison import Comparison, compare
    from .environments import Matrix, matrix
    from .explanation import Explanation, explain
    from .hunting import Hunt, hunt
    from .listing import catalogue, implementations
    from .oracle import Reference, reference
    from .querying import query, read
    from .reports import style, tables
    from .runner import run
    from .testing import assert_conforms

__version__ = "0.1.0"
__all__ = [
    "CheckResult",
    "Comparison",
    "Explanation",
    "Hunt",
    "Matrix",
    "Reference",
    "UsageError",
    "assert_conforms",
    "catalogue",
    "check",
    "compare",
    "explain",
    "hunt",
    "implementations",
    "matrix",
    "query",
    "read",
    "reference",
    "run",
    "style",
    "tables",
]

# Imported when first asked for: worker processes import this package and need neither pandas nor the oracle.
_HOMES = {
    "CheckResult": "checking",
    "check": "checking",
    "Comparison": "comparison",
    "compare": "comparison",
    "Matrix": "environments",
    "matrix": "environments",
    "Explanation": "explanation",
    "explain": "explanation",
    "Hunt": "hunting",
    "hunt": "hunting",
    "Reference": "oracle",
    "reference": "oracle",
    "catalogue": "listing",
    "implementations": "listing",
    "query": "querying",
    "read": "querying",
    "run": "runner",
    "assert_conforms": "testing",
    "style": "reports",
    "tables": "reports",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
