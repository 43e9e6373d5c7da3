"""The calls that wait for each worker, and which worker is to make its calls next."""

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
# Seconds that a call is thought to take before one was made: what is compiled takes longest, and is started first.
EAGER_SECONDS, COMPILED_SECONDS = 0.05, 0.5
# A worker that holds more is replaced where a dtype or a width begins, if so much of it came with its calls: the
# compiled programs of those before are of no more use, and not every framework can forget them.
MAX_RESIDENT, MAX_GROWTH = 3 * 2**29, 2**29

C = TypeVar("C", bound="Call")


@dataclass(eq=False)
class Queue(Generic[C]):
    """The calls that wait for a worker, those that it was given, and the import that comes before them."""

    key: str
    waiting: deque[C] = field(default_factory=deque)
    running: dict[Future[Outcome], C] = field(default_factory=dict)
    in_flight: int = IN_FLIGHT
    importing: Future[str | None] | None = None
    attempts: int = 0
    _answers: int = 0
    _seconds: float = 0.0
    _since: float = 0.0  # when it began, or was answered last
    _kind: Hashable = None
    _base: int = 0  # bytes that its process held after the first call

    @property
    def futures(self) -> tuple[Future[Any], ...]:
        return (*self.running, *filter(None, [self.importing]))

    def begin(self) -> None:
        """Starts the clock: from now on its calls are made."""
        self._since = time.monotonic()

    def answered(self, call: C, outcome: Outcome) -> bool:
        """Notes the answer to a call, and returns whether its process has grown so much that another should go on."""
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
        """Whether the call that comes next is of a cell that comes first."""
        return bool(self.waiting) and self.waiting[0].cell.comes_first

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """What is to be made first has the largest: cells that come first; then workers that were not tried yet, so
        that it is known how long each takes; then what will take longest.
        """
        eager = self.waiting[0].cell.base_mode == "eager"
        guess = EAGER_SECONDS if eager else COMPILED_SECONDS
        each = self._seconds / self._answers if self._answers else guess
        return self.is_urgent, not self._answers, each * len(self.waiting)


def next_to_start(queues: Collection[Queue[Any]], at_once: int) -> list[Queue[Any]]:
    """The queues that should begin now, so that no more than so many workers make calls at once."""
    room = at_once - sum(bool(queue.futures) for queue in queues)
    if room <= 0:
        return []
    return sorted(_idle(queues), key=lambda queue: queue.rank, reverse=True)[:room]


def goes_on(queue: Queue[Any], queues: Collection[Queue[Any]]) -> bool:
    """Whether a worker that was answered makes its next call, or leaves its place to one that is more urgent."""
    return bool(queue.waiting) and not any(other.rank[:2] > queue.rank[:2] for other in _idle(queues))


def _idle(queues: Collection[Queue[Any]]) -> list[Queue[Any]]:
    return [queue for queue in queues if queue.waiting and not queue.futures]


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
