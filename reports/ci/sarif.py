"""SARIF 2.1.0, the format of results of static analysis that code scanning reads.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ...core import strict_json
from ...core.files import digest
from ...core.location import Location
from ...core.version import __version__

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"


@dataclass(frozen=True)
class Alert:
    """A fault.

    Attributes:
        rule: the kind of fault, a stable name such as ``check/masks``.
        title: what the rule requires, one sentence.
        subject: what has the fault, such as the name of a loss. A service follows a fault by rule and subject.
        message: the fault in words.
        place: the file and line of the subject, if known.
    """

    rule: str
    title: str
    subject: str
    message: str
    place: Location | None = None


def sarif(run: str, alerts: Sequence[Alert]) -> str:
    """Return a SARIF log of one run with a result for each alert.

    Args:
        run: the name of the run, such as ``logitlab/check/losses.my_loss/torch``: a service replaces the results of an
            earlier run of the same name.
        alerts: the faults; none if the run found none.
    """
    rules = {alert.rule: alert.title for alert in alerts}
    driver = {
        "name": "LogitLab",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": title}} for rule, title in rules.items()],
    }
    content = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "automationDetails": {"id": f"{run}/"},
                "columnKind": "unicodeCodePoints",
                "results": [_result(alert, list(rules).index(alert.rule)) for alert in alerts],
            }
        ],
    }
    return strict_json.document(content)


def _result(alert: Alert, index: int) -> dict[str, Any]:
    key = digest(f"{alert.rule} {alert.subject}".encode("utf-8", "surrogatepass"))
    result: dict[str, Any] = {
        "ruleId": alert.rule,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": alert.message},
        "partialFingerprints": {"logitlab/v1": key},
    }
    if alert.place is not None:
        place = {"artifactLocation": _artifact(alert.place), "region": {"startLine": alert.place.line}}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _artifact(place: Location) -> dict[str, str]:
    if place.relative is None:
        return {"uri": place.file.as_uri()}
    return {"uri": quote(place.relative), "uriBaseId": _ROOT}
