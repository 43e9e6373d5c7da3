"""Frameworks in worker processes of their own: a fault costs the call that caused it and no other."""

from __future__ import annotations

import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Protocol, Self, TypeVar

from pebble import ProcessPool

from ..core.files import plain_name
from . import worker
from .outcomes import EXITED, description, ends_process, failed, import_fault, outcome_of
from .watchdog import default_limit
from .worker import Description, Outcome

# One call running and one waiting keep a worker busy without holding many batches in its pipe.
IN_FLIGHT = 2
DEFAULT_TIMEOUT = 120.0
# Seconds for an import, which on a shared disk with a cold cache may take minutes; the limit of calls is the user's.
IMPORT_TIMEOUT = 600.0
# A process that dies while it imports may have been killed from outside: it is tried once more.
IMPORT_ATTEMPTS = 2
GIB = 2**30


class Call(Protocol):
    """One evaluation to be made, and how to divide it when it fails."""

    @property
    def framework(self) -> str:
        """The framework that is imported into the lane's process; the same for all calls of a lane."""

    @property
    def lane(self) -> str:
        """Calls of one lane run one after the other in one process; lanes run side by side."""

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables of the lane's process; the same for all calls of a lane."""

    @property
    def function(self) -> Callable[..., Outcome]:
        """What is called in the worker: a function of the module `worker`."""

    def arguments(self) -> tuple[Any, ...]:
        """Those of the function."""

    def divided(self) -> Sequence[Self]:
        """The same work in smaller calls; empty where there is nothing to divide."""


C = TypeVar("C", bound=Call)

_main_lock = threading.Lock()


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Hides the main module while a process is spawned.

    A spawned process imports its parent's main module again. That would run a user's script a second time
    where it has no ``if __name__ == "__main__"``, and import the script's frameworks into every worker.
    """
    with _main_lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _Process(SpawnProcess):
    @property
    def exitcode(self) -> int | None:
        # pebble takes 0 for the end of a worker that has nothing left to do, and would wait for the answer to its call.
        # None of ours ends by itself.
        return EXITED if super().exitcode == 0 else super().exitcode

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - multiprocessing's name
        with _no_main_module():
            return SpawnProcess._Popen(process_obj)


class _Context(SpawnContext):
    Process = _Process


@dataclass
class _Lane(Generic[C]):
    """The calls that wait for a lane's process, those that it has been given, and the import that comes before them."""

    waiting: deque[C] = field(default_factory=deque)
    running: dict[Future[Outcome], C] = field(default_factory=dict)
    in_flight: int = IN_FLIGHT
    importing: Future[str | None] | None = None
    attempts: int = 0

    @property
    def futures(self) -> tuple[Future[Any], ...]:
        return (*self.running, *filter(None, [self.importing]))


class Pools:
    """Processes for each framework, one a lane, for the length of a ``with`` block.

    Args:
        frameworks: their names.
        logs: a folder for what the workers print, one file a lane.
        timeout: seconds after which a call is given up and its worker replaced; an import has `IMPORT_TIMEOUT`.
        memory_limit: GiB of memory above which a worker is ended; half of the machine's by default.
    """

    def __init__(
        self,
        frameworks: Sequence[str],
        logs: Path,
        timeout: float = DEFAULT_TIMEOUT,
        memory_limit: float | None = None,
    ) -> None:
        self._memory = default_limit() if memory_limit is None else int(memory_limit * GIB)
        logs.mkdir(parents=True, exist_ok=True)
        self._timeout = timeout
        self._logs = logs
        self._frameworks = tuple(frameworks)
        self._pools: dict[str, ProcessPool] = {}
        self._imports: dict[str, Future[str | None]] = {}
        self._lanes: dict[str, _Lane[Any]] = {}

    def __enter__(self) -> Pools:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._pools):
            self._discard(name)

    def describe(self) -> dict[str, Description]:
        """Every framework's description; they import side by side."""
        futures = {
            name: self.lane(name).schedule(worker.describe, args=[name], timeout=IMPORT_TIMEOUT)
            for name in self._frameworks
        }
        return {name: description(name, future, IMPORT_TIMEOUT) for name, future in futures.items()}

    def answer(self, framework: str, function: Callable[..., Outcome], arguments: Sequence[Any]) -> Outcome:
        """One call in the framework's own process: what it gave, or how it failed."""
        outcome = import_fault(framework, self._imported(framework, framework), IMPORT_TIMEOUT)
        if outcome is None:
            future = self.lane(framework).schedule(function, args=arguments, timeout=self._timeout)
            outcome = outcome_of(future, self._timeout) or failed(BrokenProcessPool(), self._timeout)
        if ends_process(outcome):
            self._discard(framework)
        return outcome

    def evaluate(self, calls: Sequence[C]) -> Iterator[tuple[C, Outcome]]:
        """Makes the calls, each lane's in their order, and yields them as they end.

        A call that fails is divided and made again in parts, until the fault has one cause. While the calls are made,
        `add` takes more of them.
        """
        self._lanes = {}
        for call in calls:
            self._lanes.setdefault(call.lane, _Lane()).waiting.append(call)
        for lane in self._lanes.values():
            self._fill(lane)
        while True:
            futures = {future: lane for lane in self._lanes.values() for future in lane.futures}
            if not futures:
                return
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                lane = futures[future]
                if future is lane.importing:
                    yield from self._import_ended(lane, future)
                elif future in lane.running:  # and not withdrawn since
                    yield from self._ended(lane, future)

    def add(self, call: Call) -> None:
        """One more call for the `evaluate` that is under way, the next that its lane makes."""
        lane = self._lanes.setdefault(call.lane, _Lane())
        lane.waiting.appendleft(call)
        self._fill(lane)

    def _import_ended(self, lane: _Lane[C], future: Future[str | None]) -> Iterator[tuple[C, Outcome]]:
        """Makes the lane's calls; if the framework was not imported, all of them have its fault."""
        first = lane.waiting[0]
        fault = import_fault(first.framework, future, IMPORT_TIMEOUT)
        lane.importing = None
        lane.attempts += 1
        if fault is None:
            lane.attempts = 0
        else:
            self._discard(first.lane)
            if fault.status != "crashed" or lane.attempts >= IMPORT_ATTEMPTS:
                calls = tuple(lane.waiting)
                lane.waiting.clear()
                yield from ((call, fault) for call in calls)
        self._fill(lane)

    def _ended(self, lane: _Lane[C], future: Future[Outcome]) -> Iterator[tuple[C, Outcome]]:
        outcome = outcome_of(future, self._timeout)
        if outcome is None and lane.in_flight > 1:
            lane.in_flight = 1
            self._start_anew(lane)
            return
        if outcome is not None and outcome.status == worker.UNMADE:
            # The answer of the call that spent the process has come too, and is next.
            lane.waiting.appendleft(lane.running.pop(future))
            return
        call = lane.running.pop(future)
        outcome = outcome or failed(BrokenProcessPool(), self._timeout)
        if ends_process(outcome):
            self._discard(call.lane)
            self._start_anew(lane)
        parts = call.divided() if outcome.status in ("raised", "crashed", "timeout") else ()
        lane.waiting.extendleft(reversed(parts))
        self._fill(lane)
        if not parts:
            yield call, outcome

    def _start_anew(self, lane: _Lane[C]) -> None:
        """Makes the calls in flight once more, in another process.

        The pool of this one is given up where a call has ended its process, so that the framework is imported into the
        next before a call's time begins. It broke where it is not known which of the calls in flight broke it: pebble
        gives up a pool whose process dies between taking a call and having said so. Then they are made one by one.
        """
        lane.waiting.extendleft(reversed(lane.running.values()))
        lane.running.clear()
        self._fill(lane)

    def _fill(self, lane: _Lane[C]) -> None:
        if lane.waiting and lane.importing is None:
            first = lane.waiting[0]
            imported = self._imported(first.lane, first.framework, first.variables)
            if not imported.done():
                lane.importing = imported
        if lane.importing is not None:
            return
        while lane.waiting and len(lane.running) < lane.in_flight:
            call = lane.waiting.popleft()
            pool = self.lane(call.lane, call.variables)
            future = pool.schedule(call.function, args=call.arguments(), timeout=self._timeout)
            lane.running[future] = call

    def _imported(
        self, lane: str, framework: str, variables: Mapping[str, str] = MappingProxyType({})
    ) -> Future[str | None]:
        """The import of the framework into the lane's process, scheduled once for each process."""
        pool = self.lane(lane, variables)
        if lane not in self._imports:
            self._imports[lane] = pool.schedule(worker.import_framework, args=[framework], timeout=IMPORT_TIMEOUT)
        return self._imports[lane]

    def lane(self, name: str, variables: Mapping[str, str] = MappingProxyType({})) -> ProcessPool:
        """The pool of one process that a lane's calls run in, made when it is first needed or has broken."""
        if name in self._pools and not self._pools[name].active:
            self._discard(name)
        if name not in self._pools:
            log = str(self._logs / f"{plain_name(name)}.log")  # another package's framework may be called anything
            given = [log, dict(variables), self._memory]
            self._pools[name] = ProcessPool(1, initializer=worker.prepare, initargs=given, context=_Context())
        return self._pools[name]

    def _discard(self, name: str) -> None:
        pool = self._pools.pop(name)
        self._imports.pop(name, None)
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()
