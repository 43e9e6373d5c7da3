"""``audit``: run a test of a loss on faulty and sound losses, and count what it notices."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pandas as pd

from ...core import arguments
from ...core.errors import UsageError
from ...core.formats import FORMATS
from ...core.progress import Progress, reporting
from ...core.vocabulary import Status
from ...execution import registry
from ...execution.isolated import Ended, each_isolated
from ..check import Returns
from . import corpus
from ._changes import smallest_changes
from ._faults import require_measured, shown_by
from ._kinds import Kind, kind_of
from ._result import ACCEPTED, COLUMNS, MISSED, NOTICED, REJECTED, Audited, row_of
from ._show import written
from ._tolerance import ToleranceTest
from ._trial import Test, Trial, Verdict, run
from .corpus import Listed

TIMEOUT = 120.0
_PRELOADED = ("logitlab.studies.audit._trial", "logitlab.studies.audit._tolerance")
# Frameworks that the processes share by a fork. TensorFlow starts threads when it is imported, and must not be forked.
_SHARED = ("torch", "jax", "numpy")


class AuditResult(Audited):
    """The result of an audit, which prints as a report."""

    def __str__(self) -> str:
        return written(self, "text").rstrip("\n")


def audit(
    test: str | Test,
    framework: str = "torch",
    dtypes: object = None,
    *,
    returns: str = "rows",
    losses: arguments.Strings = None,
    kinds: arguments.Strings = None,
    timeout: float = TIMEOUT,
    name: str | None = None,
    progress: Progress | bool | None = None,
) -> AuditResult:
    """Run a test on faulty and sound losses, and return which faults it notices and which sound losses it rejects.

    Each loss of the corpus has one planted fault, or none. The test is called with one loss at a time, in a new
    process. It notices a fault if it raises, or if its process dies. A fault counts only in the dtypes in which
    `logitlab.check` finds it beyond grade B.

    Args:
        test: a function of a loss that raises if it finds a fault. Give its name, ``MODULE:TEST`` or ``FILE.py:TEST``,
            or the function itself, if it is defined at the top of a module or script. The loss takes logits (B, C) and
            integer targets (B,) in the framework's arrays, and returns the row losses (B,). In NumPy it has the
            gradient (B, C) as its attribute ``gradient``, a function of the same arguments.
        framework: ``torch``, ``jax``, ``tensorflow`` or ``numpy``.
        dtypes: the dtypes of the test; by default those in which it calls the sound losses.
        returns: what the losses return: ``rows`` (B,), or the ``mean`` or ``sum`` of the batch.
        losses: globs of the names of losses to try; by default all.
        kinds: the kinds of faults to try, such as ``masks``; by default all.
        timeout: the time limit of the test of one loss in seconds.
        name: the name of the test in the report.
        progress: called with the losses done, the total and the current loss. By default (None or True) a bar if
            standard error is a terminal, and a line in a notebook; False for none.

    Raises:
        UsageError: for an unknown name, a framework that is not installed, or a test that cannot be imported or sent to
            a process. Also for a test that never calls its loss, or that raises on every sound loss without an
            assertion.
    """
    chosen = arguments.as_choice(returns, Returns, "returns")
    limit = arguments.as_positive(timeout, "timeout", "seconds")
    sent, called = _sendable(test)
    called = called if name is None else arguments.as_string(name, "name")
    asked = tuple(dict.fromkeys(arguments.as_dtypes(dtypes)))
    require_measured(framework, asked)
    sound, faults = _chosen(framework, arguments.as_strings(losses, "losses"), arguments.as_strings(kinds, "kinds"))
    with reporting(progress) as report:
        runs = _Runs(framework, sent, chosen, limit, report, len(sound) + len(faults))
        first = list(runs.each(sound, watched=True))
        _require_usable([ended.answer for _, ended in first if ended.answer is not None], called)
        found = asked or tuple(f for f in FORMATS if any(e.answer and f in e.answer.dtypes for _, e in first))
        if not found:
            raise UsageError(f"cannot tell the dtypes of {called}; give dtypes (--dtype)")
        matter = [fault for fault in faults if any(shown_by(fault, dtype) for dtype in found)]
        if not matter:
            raise UsageError(f"none of the chosen faults counts in {', '.join(found)}; choose other losses or kinds")
        ended = [*first, *runs.each(matter, watched=False)]
    table = pd.DataFrame([_line(listed, each) for listed, each in ended], columns=list(COLUMNS), dtype=object)
    missed = {
        (kind_of(fault.module, fault.name), fault.name): [(d, call) for d in found for call in shown_by(fault, d)]
        for fault in matter
        if fault.name in set(table.loc[table["outcome"].eq(MISSED), "loss"])
    }
    version = registry.version_of(framework) or ""
    place = next((e.answer.place for _, e in first if e.answer and e.answer.place), None)
    return AuditResult(
        called, framework, version, found, str(chosen), table, len(faults) - len(matter),
        tuple(smallest_changes(missed)), None if isinstance(test, ToleranceTest) else place,
    )  # fmt: skip


class _Runs:
    """The trials of one test, and their progress."""

    def __init__(
        self, framework: str, test: str | Test, returns: Returns, timeout: float, report: Progress | None, total: int
    ) -> None:
        self._framework, self._test, self._returns, self._timeout = framework, test, returns, timeout
        self._report, self._total, self._done = report, total, 0

    def each(self, losses: Sequence[Listed], *, watched: bool) -> Iterator[tuple[Listed, Ended[Verdict]]]:
        """Run the test on each loss, and return the losses in their order with how the test ended."""
        trials = [Trial(self._framework, each.module, each.name, self._test, self._returns, watched) for each in losses]
        preload = [*_PRELOADED, *[f"logitlab.frameworks.{name}" for name in _SHARED if name == self._framework]]
        found: dict[int, Ended[Verdict]] = {}
        for number, ended in each_isolated(run, trials, self._timeout, preload):
            found[number] = ended
            self._done += 1
            if self._report is not None:
                self._report(self._done, self._total, losses[number].name)
        return ((each, found[number]) for number, each in enumerate(losses))


def _sendable(test: str | Test) -> tuple[str | Test, str]:
    """Return the test as a process can be given it, and its name."""
    if isinstance(test, str):
        return test, test.rpartition(":")[2] if ":" in test else test
    if not callable(test):
        raise UsageError(f"the test is {type(test).__name__}; give a function of a loss, or MODULE:TEST")
    if isinstance(test, ToleranceTest):
        return test, test.title
    called = str(getattr(test, "__name__", type(test).__name__))
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if inspect.isfunction(test) and test.__module__ == "__main__" and script:
        return f"{Path(script).resolve()}:{test.__qualname__}", called
    try:
        ForkingPickler.dumps(test)
    except Exception as error:
        raise UsageError(
            f"the test {called} cannot be sent to a process; define it at the top of a module, or give MODULE:TEST"
        ) from error
    if getattr(test, "__module__", "") == "__main__":
        raise UsageError(f"the test {called} is defined interactively; define it in a file, and give FILE.py:{called}")
    return test, called


def _chosen(framework: str, losses: list[str], kinds: list[str]) -> tuple[list[Listed], list[Listed]]:
    """Return the sound losses and the faults to try."""
    wanted = {arguments.as_choice(kind, Kind, "kinds") for kind in kinds} or set(Kind)
    sound = corpus.sound_everywhere(framework)
    faults = [each for each in corpus.defects() if each.framework == framework]
    if not sound:
        raise UsageError(f"{framework} is not installed; see `logitlab doctor`")
    if unmatched := [g for g in losses if not any(fnmatchcase(each.name, g) for each in (*sound, *faults))]:
        raise UsageError(f"no loss of the audit is named {unmatched[0]!r}; see the names in its JSON report")
    faults = [each for each in faults if kind_of(each.module, each.name) in wanted and _named(each, losses)]
    # A test that rejects everything would otherwise notice every fault.
    return [each for each in sound if _named(each, losses)] or sound[:1], faults


def _named(listed: Listed, losses: list[str]) -> bool:
    return not losses or any(fnmatchcase(listed.name, glob) for glob in losses)


def _require_usable(verdicts: Sequence[Verdict], called: str) -> None:
    for verdict in verdicts:
        if verdict.unusable:
            raise UsageError(verdict.unusable)
    failed = [v for v in verdicts if v.raised]
    if verdicts and len(failed) == len(verdicts) and not any(v.asserted for v in failed):
        raise UsageError(
            f"the test {called} raises on every sound loss ({failed[0].message}); it must be a function of a loss, and "
            "raise only if the loss is wrong"
        )
    if verdicts and not any(v.called for v in verdicts):
        raise UsageError(f"the test {called} never calls its loss; it must be a function of a loss that calls it")


def _line(listed: Listed, ended: Ended[Verdict]) -> dict[str, Any]:
    is_fault = listed.wrong is not None
    verdict = ended.answer
    raised = verdict.raised if verdict is not None else ended.status is not Status.TIMEOUT
    outcome = (NOTICED if raised else MISSED) if is_fault else (REJECTED if raised else ACCEPTED)
    return row_of(
        loss=listed.name,
        kind=kind_of(listed.module, listed.name).value if is_fault else None,
        wrong=listed.wrong,
        outcome=None if ended.status is Status.TIMEOUT else outcome,
        status=str(ended.status),
        message=ended.detail if verdict is None else verdict.message,
        description=listed.description,
        source=listed.seen,
    )
