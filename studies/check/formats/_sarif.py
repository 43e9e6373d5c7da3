"""A check as SARIF: a rule for each requirement that does not hold, with one result at the line of the loss."""

from ....core.location import Location
from ....reports import ci
from .._result import CheckResult
from ._requirements import broken
from ._wording import about, where


def sarif(result: CheckResult, place: Location | None) -> str:
    """Return the log of the check."""
    alerts = [
        ci.Alert(
            rule, f"A cross-entropy loss meets the requirement: {some[0].name}", f"{result.name} {result.framework}",
            f"{result.name} ({where(result)}): {some[0].name}: {about(some)}", place,
        )
        for rule, some in broken(result).items()
    ]  # fmt: skip
    return ci.sarif(f"logitlab/check/{result.framework}/{result.name}", alerts)
