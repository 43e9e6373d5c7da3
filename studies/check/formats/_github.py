"""A check as annotations of GitHub: an error for each broken requirement, and a notice with the result."""

from collections.abc import Iterator

from ....core.location import Location
from ....reports.ci import MAX_ANNOTATIONS, annotation
from .._result import CheckResult
from ._requirements import broken
from ._wording import about, headline


def github(result: CheckResult, place: Location | None) -> str:
    """Return workflow commands, a line each."""
    return "\n".join(_commands(result, place)) + "\n"


def _commands(result: CheckResult, place: Location | None) -> Iterator[str]:
    found = list(broken(result).values())
    for some in found[:MAX_ANNOTATIONS]:
        yield annotation("error", f"{result.name}: {some[0].name}", about(some), place)
    rest = len(found) - MAX_ANNOTATIONS
    left = f"\n{rest} more requirements do not hold" if rest > 0 else ""
    yield annotation("notice", "logitlab check", headline(result) + left)
