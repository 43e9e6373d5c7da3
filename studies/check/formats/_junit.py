"""A check as JUnit XML: a suite for each dtype, a test for each requirement."""

from ....core.location import Location
from ....reports import ci
from .._result import CheckResult
from ._requirements import Requirement, requirements
from ._wording import where


def junit(result: CheckResult, place: Location | None) -> str:
    """Return the document; a failure names the number of lines, the worst of them, and the line of the loss."""
    found = sorted(requirements(result), key=lambda each: each.dtype)  # a stable sort: one suite for each dtype
    return ci.junit("logitlab check", [_test(result, each, place) for each in found])


def _test(result: CheckResult, each: Requirement, place: Location | None) -> ci.JunitTest:
    suite = " ".join(filter(None, (result.name, each.dtype)))
    if each.held:
        return ci.JunitTest(suite, each.name)
    at = "" if place is None else f"{place.relative or place.file}:{place.line}"
    detail = "\n".join(filter(None, (each.example, where(result), at)))
    return ci.JunitTest(suite, each.name, each.counts if each.rows else each.example, each.rule, detail)
