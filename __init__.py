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

from .core.errors import UsageError
from .core.version import __version__ as __version__

if TYPE_CHECKING:
    from .oracle import Reference, reference
    from .reports import style, tables
    from .runner import run
    from .storage.querying import query, read
    from .studies.browse.listing import catalogue, implementations
    from .studies.check import CheckResult, check
    from .studies.compare import Comparison, compare
    from .studies.explain import Explanation, explain
    from .studies.hunt import Hunt, hunt
    from .studies.matrix import Matrix, matrix
    from .studies.testing import assert_conforms

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
    "CheckResult": "studies.check",
    "check": "studies.check",
    "Comparison": "studies.compare",
    "compare": "studies.compare",
    "Matrix": "studies.matrix",
    "matrix": "studies.matrix",
    "Explanation": "studies.explain",
    "explain": "studies.explain",
    "Hunt": "studies.hunt",
    "hunt": "studies.hunt",
    "Reference": "oracle",
    "reference": "oracle",
    "catalogue": "studies.browse.listing",
    "implementations": "studies.browse.listing",
    "query": "storage.querying",
    "read": "storage.querying",
    "run": "runner",
    "assert_conforms": "studies.testing",
    "style": "reports",
    "tables": "reports",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
