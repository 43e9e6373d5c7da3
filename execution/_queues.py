"""The calls that wait for each worker, and the choice of the worker that runs next."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .worker import Outcome

if TYPE_CHECKING:
    # A spawned process imports the pool, and should not import the oracle with it.
    from .plan import Call

# One call running and one waiting keep a worker busy without holding many batches in its pipe.
IN_FLIGHT = 2
# Estimated seconds of a worker's first call. Compiled calls take longest and start first.
EAGER_SECONDS, COMPILED_SECONDS = 0.05, 0.5
# A worker with more bytes than MAX_RESIDENT, of which its calls added MAX_GROWTH, is replaced before the next dtype or
# width. It no longer needs the earlier compiled programs, and not every framework can drop them.
MAX_RESIDENT, MAX_GROWTH = 3 * 2**29, 2**29

C = TypeVar("C", bound="Call")


@dataclass(eq=False)
class Queue(Generic[C]):
    """The waiting and running calls of a worker, and the import that precedes them."""

    key: str
    waiting: deque[C] = field(default_factory=deque)
    running: dict[Future[Outcome], C] = field(default_factory=dict)
    in_flight: int = IN_FLIGHT
    importing: Future[str | None] | None = None
    attempts: int = 0
    _answers: int = 0
    _seconds: float = 0.0
    _since: float = 0.0  # time of the start or of the latest answer
    _kind: Hashable = None
    _base: int = 0  # bytes of its process after the first call

    @property
    def futures(self) -> tuple[Future[Any], ...]:
        return (*self.running, *filter(None, [self.importing]))

    def begin(self) -> None:
        """Start the clock when the first call starts."""
        self._since = time.monotonic()

    def answered(self, call: C, outcome: Outcome) -> bool:
        """Record the answer to a call; return whether the process has grown so much that it should be replaced."""
        now = time.monotonic()
        self._answers, self._seconds, self._since = self._answers + 1, self._seconds + now - self._since, now
        begins, self._kind = call.kind != self._kind, call.kind
        self._base = self._base or outcome.resident
        grown = begins and outcome.resident > max(MAX_RESIDENT, self._base + MAX_GROWTH)
        if grown:
            self._base = 0
        return grown

    @property
    def is_urgent(self) -> bool:
        """Whether the next call belongs to a cell that is measured first."""
        return bool(self.waiting) and self.waiting[0].cell.comes_first

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The priority as a sort key; the largest runs first.

        Cells that are measured first precede workers without an answer, so that each worker's speed is known early.
        Then comes the worker with the most work left.
        """
        return self.is_urgent, not self._answers, self.seconds_each * len(self.waiting)

    @property
    def seconds_each(self) -> float:
        """The mean time from one answer to the next, estimated before the first."""
        if self._answers:
            return self._seconds / self._answers
        return EAGER_SECONDS if self.waiting[0].cell.base_mode == "eager" else COMPILED_SECONDS


def next_to_start(queues: Collection[Queue[Any]], at_once: int) -> list[Queue[Any]]:
    """Return the queues that should start now, so that at most ``at_once`` workers run.

    They have the most work left. But if three or more run, one of them is the worker with the quickest calls, since
    this process takes longer to grade those. If they all came last, the other workers' cores would wait.
    """
    room = at_once - sum(bool(queue.futures) for queue in queues)
    if room <= 0:
        return []
    starting = sorted(_idle(queues), key=lambda queue: queue.rank, reverse=True)[:room]
    if at_once > 2 and len(starting) == room and not any(starting[-1].rank[:2]):
        quickest = min((queue for queue in queues if queue.waiting), key=lambda queue: queue.seconds_each)
        if not quickest.futures and quickest not in starting:
            starting[-1] = quickest
    return starting


def goes_on(queue: Queue[Any], queues: Collection[Queue[Any]]) -> bool:
    """Return whether a worker that has answered runs its next call, rather than a more urgent worker."""
    return bool(queue.waiting) and not any(other.rank[:2] > queue.rank[:2] for other in _idle(queues))


def _idle(queues: Collection[Queue[Any]]) -> list[Queue[Any]]:
    return [queue for queue in queues if queue.waiting and not queue.futures]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
