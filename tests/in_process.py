"""Runs and explanations that make their calls in the test process.

A worker takes half a second to start, with PyTorch three. Where a test is about the files that a run reads, about what
it keeps or what it says, no worker is needed.
"""

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from logitlab.execution import executors, registry


class InThisProcess(executors.Local):
    """Failed calls are divided as in workers; calls have no limit of time or memory."""

    def __init__(
        self, frameworks: Sequence[str], logs: Path, timeout: float, memory_limit: float | None = None
    ) -> None:
        super().__init__(frameworks, logs, timeout, memory_limit)
        for name in frameworks:
            (logs / f"{name}.log").write_text("started\n")

    def describe(self):
        with warnings.catch_warnings(action="ignore"):
            return {name: registry.describe(name) for name in self._frameworks}

    def add(self, call) -> None:
        self._waiting.appendleft(call)

    def evaluate(self, calls, *, is_last: bool = False) -> Iterator:
        self._waiting = deque(calls)
        while self._waiting:
            call = self._waiting.popleft()
            with warnings.catch_warnings(action="ignore"):
                outcome = call.function(call.evaluation())
            parts = call.divided() if outcome.failed else ()
            self._waiting.extendleft(reversed(parts))
            if not parts:
                yield call, outcome


@contextmanager
def calls_in_this_process() -> Iterator[None]:
    """Let runs, and explanations by an `Explainer` opened meanwhile, make their calls in this process."""
    from logitlab.studies import _session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "Local", InThisProcess)
        patch.setattr(_session, "Pools", InThisProcess)
        yield
