"""A check as strict JSON, described by the schema ``check`` of `core.schemas`."""

from dataclasses import asdict

from ....core import strict_json
from ....core.location import Location
from .._result import CheckResult
from ..bitwise import BitwiseResult
from ..judging._wording import unsupported_dtypes
from ..linear import LinearCheckResult
from ._requirements import requirements

SCHEMA = 1
MAX_FAILURES = 100  # of a table that may have a hundred thousand lines


def json_text(result: CheckResult, place: Location | None) -> str:
    """Return the result: an infinite number is the string ``inf``, a missing one null."""
    bits = isinstance(result, BitwiseResult)
    grades = {"loss": result.required_loss, "gradient": result.required_gradient}
    content = {
        "schema": SCHEMA,
        "name": result.name,
        "source": None if place is None else {"file": place.relative or place.file.as_posix(), "line": place.line},
        "problem": "linear" if isinstance(result, LinearCheckResult) else "logits",
        "framework": result.framework,
        "version": result.version,
        "device": result.device,
        "mode": result.mode,
        "passed": result.passed,
        "complete": result.complete,
        "required": None if bits else grades,
        "options": list(result.options),
        "limits": str(result.limits),
        "grades": result.grades_by_quantity,
        "unsupported": unsupported_dtypes(result.lines),
        "requirements": [asdict(each) for each in requirements(result)],
        "failed": len(result.failures),
        "failures": strict_json.records(result.failures.head(MAX_FAILURES)),
        "warnings": [asdict(each) for each in result.warnings],
        "program": result.script,
    }
    return strict_json.document(content)
