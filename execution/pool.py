"""Worker processes, at least one for each framework, so that a fault costs only the call that caused it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pebble import ProcessPool

from ..core.files import plain_name
from ..core.vocabulary import Status
from . import registry, worker
from ._main_module import HidesMain
from ._queues import Queue, cores, goes_on, next_to_start
from ._watchdog import default_limit
from .outcomes import EXITED, description, ends_process, failed, import_fault
from .registry import Description
from .worker import ExhaustedError, Outcome

if TYPE_CHECKING:
    # A spawned process imports this module, and should not import the oracle with it.
    from .plan import Call

DEFAULT_TIMEOUT = 120.0
# Time limit of an import in seconds; on a shared disk with a cold cache an import may take minutes.
IMPORT_TIMEOUT = 600.0
# A process that dies during an import may have been killed from outside, so the import is tried again.
IMPORT_ATTEMPTS = 2
GIB = 2**30

C = TypeVar("C", bound="Call")


class _Process(HidesMain, SpawnProcess):
    @property
    def exitcode(self) -> int | None:
        # pebble takes 0 for the end of an idle worker, and would wait forever for the answer to the call. LogitLab's
        # workers never end by themselves.
        return EXITED if super().exitcode == 0 else super().exitcode


class _Context(SpawnContext):
    Process = _Process


class Pools:
    """Worker processes of each framework, for the length of a ``with`` block.

    Each worker has a key. Calls with the same key run one after the other in one process. Different keys run side by
    side, only as many as keep the cores busy.

    Args:
        frameworks: their names.
        logs: the folder for the output of the workers, one file for each key.
        timeout: the time limit of a call in seconds, after which its worker is replaced; imports have `IMPORT_TIMEOUT`.
        memory_limit: the memory limit of a worker in GiB; half of the machine's memory by default.
    """

    def __init__(
        self, frameworks: Sequence[str], logs: Path, timeout: float = DEFAULT_TIMEOUT, memory_limit: float | None = None
    ) -> None:
        self._memory = default_limit() if memory_limit is None else int(memory_limit * GIB)
        logs.mkdir(parents=True, exist_ok=True)
        self._timeout = timeout
        self._logs = logs
        self._frameworks = tuple(frameworks)
        self._pools: dict[str, ProcessPool] = {}
        self._imports: dict[str, Future[str | None]] = {}
        self._queues: dict[str, Queue[Any]] = {}
        # One more than the cores, since a worker waits while its results are graded or a compiler reads from disk.
        self._at_once = cores() + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._pools):
            self._discard(key)

    def describe(self) -> dict[str, Description]:
        """Import all frameworks side by side and return their descriptions."""
        futures = {
            name: self.worker(name).schedule(registry.describe, args=[name], timeout=IMPORT_TIMEOUT)
            for name in self._frameworks
        }
        return {name: description(name, future, IMPORT_TIMEOUT) for name, future in futures.items()}

    def evaluate(self, calls: Iterable[C], *, is_last: bool = False) -> Iterator[tuple[C, Outcome]]:
        """Run the calls, each worker's in their order, and yield them as they end.

        A call that fails is divided and run again in parts, until the fault has one cause. During the evaluation, `add`
        adds calls. With ``is_last`` each worker ends after its last call.
        """
        self._queues = {}
        for call in calls:
            self._queue(call).waiting.append(call)
        if is_last:
            for key in self._pools.keys() - self._queues.keys():
                self._discard(key)
        while True:
            for queue in next_to_start(self._queues.values(), self._at_once):
                self._fill(queue)
            futures = {future: queue for queue in self._queues.values() for future in queue.futures}
            if not futures:
                return
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                queue = futures[future]
                if future is queue.importing:
                    yield from self._import_ended(queue, future)
                elif future in queue.running:  # a restart may have withdrawn it
                    yield from self._ended(queue, future)
                if is_last and not queue.waiting and not queue.futures and queue.key in self._pools:
                    self._discard(queue.key)

    def add(self, call: Call) -> None:
        """Add a call to the running `evaluate`; its worker runs it next."""
        queue = self._queue(call)
        queue.waiting.appendleft(call)
        if queue.futures or queue in next_to_start(self._queues.values(), self._at_once):
            self._fill(queue)

    def _queue(self, call: Call) -> Queue[Any]:
        key = call.cell.worker_key
        return self._queues.setdefault(key, Queue(key))

    def _import_ended(self, queue: Queue[C], future: Future[str | None]) -> Iterator[tuple[C, Outcome]]:
        """Run the waiting calls; if the import failed, yield all of them with its fault."""
        cell = queue.waiting[0].cell
        fault = import_fault(cell.framework, future, IMPORT_TIMEOUT)
        queue.importing = None
        queue.attempts += 1
        if fault is None:
            queue.attempts = 0
        else:
            self._discard(cell.worker_key)
            if fault.status is not Status.CRASHED or queue.attempts >= IMPORT_ATTEMPTS:
                calls = tuple(queue.waiting)
                queue.waiting.clear()
                yield from ((call, fault) for call in calls)
        self._fill(queue)

    def _ended(self, queue: Queue[C], future: Future[Outcome]) -> Iterator[tuple[C, Outcome]]:
        error = future.exception()
        if isinstance(error, BrokenProcessPool) and queue.in_flight > 1:
            queue.in_flight = 1
            self._restart(queue)
            return
        call = queue.running.pop(future)
        if isinstance(error, ExhaustedError):
            # The next answer is that of the call that exhausted the process.
            queue.waiting.appendleft(call)
            return
        outcome = future.result() if error is None else failed(error, self._timeout)
        if queue.answered(call, outcome) or ends_process(outcome):
            self._discard(call.cell.worker_key)
            self._restart(queue)
        parts = call.divided() if outcome.failed else ()
        queue.waiting.extendleft(reversed(parts))
        if goes_on(queue, self._queues.values()):
            self._fill(queue)
        if not parts:
            yield call, outcome

    def _restart(self, queue: Queue[C]) -> None:
        """Run the calls in flight again in a new process.

        After a call that ended its process, the caller discards the pool, so that the new process imports the framework
        before the time of a call starts. A pool also breaks if its process dies after it took a call and before it
        reported that. Then the call at fault is not known, and the caller runs the calls one by one.
        """
        queue.waiting.extendleft(reversed(queue.running.values()))
        queue.running.clear()
        self._fill(queue)

    def _fill(self, queue: Queue[C]) -> None:
        if queue.waiting and queue.importing is None:
            cell = queue.waiting[0].cell
            pool = self.worker(cell.worker_key, cell.variables)
            if cell.worker_key not in self._imports:  # once for each process
                importing = pool.schedule(worker.import_framework, args=[cell.framework], timeout=IMPORT_TIMEOUT)
                self._imports[cell.worker_key] = importing
            if not self._imports[cell.worker_key].done():
                queue.importing = self._imports[cell.worker_key]
        if queue.importing is not None:
            return
        if not queue.running:
            queue.begin()
        while queue.waiting and len(queue.running) < queue.in_flight:
            call = queue.waiting.popleft()
            pool = self.worker(call.cell.worker_key, call.cell.variables)
            future = pool.schedule(call.function, args=[call.evaluation()], timeout=self._timeout)
            queue.running[future] = call

    def worker(self, key: str, variables: Mapping[str, str] = MappingProxyType({})) -> ProcessPool:
        """Return the one-process pool of a key; start it if it does not exist or is broken."""
        if key in self._pools and not self._pools[key].active:
            self._discard(key)
        if key not in self._pools:
            log = str(self._logs / f"{plain_name(key)}.log")  # another package's framework may have any name
            arguments = [log, dict(variables), self._memory]
            self._pools[key] = ProcessPool(1, initializer=worker.prepare, initargs=arguments, context=_Context())
        return self._pools[key]

    def _discard(self, key: str) -> None:
        pool = self._pools.pop(key)
        self._imports.pop(key, None)
        if key in self._queues:
            # A call may be added, and a new pool may import, before the answer that the last pool broke is read.
            self._queues[key].importing = None
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()
