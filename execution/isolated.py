"""Run tasks that may crash or hang, each in a new process with a time limit."""

import multiprocessing
import multiprocessing.context
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pebble import ProcessPool

from ..core.vocabulary import Status
from . import worker
from ._main_module import HidesMain, hidden_main
from ._queues import cores
from ._watchdog import default_limit
from .outcomes import failed

T = TypeVar("T")
# Processes that are forked from one that has imported the framework start in milliseconds. Windows has no such server.
_FORKS = "forkserver" in multiprocessing.get_all_start_methods()


@dataclass(frozen=True)
class Ended(Generic[T]):
    """How a task ended: its answer, or ``answer`` None with a status and a message.

    Attributes:
        answer: what the function returned; None if it raised, crashed, or exceeded its time.
        status: ``ok``, ``raised``, ``crashed`` or ``timeout``.
        detail: the message about a fault.
    """

    answer: T | None
    status: Status = Status.OK
    detail: str = ""


def each_isolated(
    function: Callable[..., T], tasks: Sequence[Any], timeout: float, preload: Sequence[str] = ()
) -> Iterator[tuple[int, Ended[T]]]:
    """Call a function with each task, in a new process each time, and yield the number of a task and how it ended.

    As many processes run side by side as there are cores. Their output is dropped. A process may take half of the
    machine's memory, and ends with this one.

    Args:
        function: a function of a module, which takes one task.
        tasks: its arguments.
        timeout: the time limit of a task in seconds, without the start of its process.
        preload: modules that the processes share, such as a framework. The first call of this function decides them.
    """
    context = _context(preload)
    with tempfile.TemporaryDirectory(prefix="logitlab-") as folder:
        arguments = [str(Path(folder) / "tasks.log"), {}, default_limit()]
        pool = ProcessPool(cores(), max_tasks=1, initializer=worker.prepare, initargs=arguments, context=context)
        try:
            numbers: dict[Future[T], int] = {
                pool.schedule(function, args=[task], timeout=timeout): number for number, task in enumerate(tasks)
            }
            while numbers:
                for future in wait(numbers, return_when=FIRST_COMPLETED).done:
                    yield numbers.pop(future), _ended(future, timeout)
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


def _ended(future: Future[T], timeout: float) -> Ended[T]:
    error = future.exception()
    if error is None:
        return Ended(future.result())
    fault = failed(error, timeout)
    return Ended(None, fault.status, fault.detail)


def _context(preload: Sequence[str]) -> multiprocessing.context.BaseContext:
    if not _FORKS:
        return _SpawnContext()
    context = _ForkServerContext()
    with hidden_main():
        context.set_forkserver_preload(list(preload))
    return context


class _SpawnProcess(HidesMain, multiprocessing.context.SpawnProcess):
    pass


class _SpawnContext(multiprocessing.context.SpawnContext):
    Process = _SpawnProcess


if _FORKS:

    class _ForkServerProcess(HidesMain, multiprocessing.context.ForkServerProcess):
        pass

    class _ForkServerContext(multiprocessing.context.ForkServerContext):
        Process = _ForkServerProcess
