"""The result of an audit as JUnit XML and SARIF, for continuous integration."""

from collections.abc import Iterator
from itertools import chain

from ...reports import ci
from ._kinds import MEANING, Kind
from ._result import Audited

_SOUND = "sound losses"


def junit(result: Audited) -> str:
    """Return a suite for each kind of fault and one of the sound losses, with a test for each loss."""
    failures = {loss: (finding, message) for loss, finding, _, message in _findings(result)}
    suites: dict[str, list[str]] = {name: [] for name in [*map(str, Kind), _SOUND]}
    for loss, kind in zip(result.table["loss"], result.table["kind"], strict=True):
        suites[kind if isinstance(kind, str) else _SOUND].append(str(loss))
    tests = ([_test(result, suite, loss, failures.get(loss)) for loss in losses] for suite, losses in suites.items())
    return ci.junit("logitlab audit", chain.from_iterable(tests))


def _test(result: Audited, suite: str, loss: str, failure: tuple[str, str] | None) -> ci.JunitTest:
    if failure is None:
        return ci.JunitTest(f"{result.name} {suite}", loss)
    finding, message = failure
    return ci.JunitTest(f"{result.name} {suite}", loss, finding, finding.replace(" ", "-"), message)


def sarif(result: Audited) -> str:
    """Return a log with a result for each kind of fault that slips through and each loss that is not accepted."""
    return ci.sarif(f"logitlab/audit/{result.framework}/{result.name}", list(_alerts(result)))


def _alerts(result: Audited) -> Iterator[ci.Alert]:
    missed = result.missed
    for kind in Kind:
        losses = list(map(str, missed.loc[missed["kind"].eq(kind.value), "loss"]))
        if losses:
            yield ci.Alert(
                f"audit/{kind.name.lower().replace('_', '-')}",
                f"A test of a loss notices faults that are shown by {MEANING[kind]}.", result.name,
                f"{result.name} misses {len(losses)} faults of the kind {kind}: {', '.join(losses)}", result.place,
            )  # fmt: skip
    for loss, finding, _, message in _findings(result):
        if finding == "fault missed":
            continue
        rule, title = (
            ("audit/sound-loss", "A test of a loss accepts sound losses.")
            if finding == "sound loss rejected"
            else ("audit/unfinished", "A test of a loss ends in time.")
        )
        yield ci.Alert(
            rule, title, f"{result.name} {loss}", f"{result.name}, {finding}: {loss}: {message}", result.place
        )


def _findings(result: Audited) -> Iterator[tuple[str, str, object, str]]:
    """Yield the lines of `Audited.findings`."""
    for loss, finding, kind, message in result.findings.itertuples(index=False):
        yield str(loss), str(finding), kind, str(message)
