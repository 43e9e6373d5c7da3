"""``logitlab audit``: how many faulty losses a test notices, and which kinds slip through."""

from ._audit import AuditResult, audit
from ._changes import Change
from ._kinds import Kind
from ._show import FORMATS, as_json, written
from ._tolerance import ToleranceTest, tolerance_test

__all__ = [
    "FORMATS", "AuditResult", "Change", "Kind", "ToleranceTest", "as_json", "audit", "tolerance_test", "written",
]  # fmt: skip
