"""A run on the workers of a Dask cluster: it submits tasks, and submits them again if their workers die."""

import queue
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import dask
from distributed import Future, KilledWorker

from ...core.errors import UsageError
from ...storage.manifest import Manifest
from ...storage.store import Run
from ..measuring import Block
from ..plan import Cell
from . import _worker_runtime as worker_runtime
from ._cluster import RESUME, Cluster, required_resources
from ._survey import hosts

# Seconds between polls for workers that have joined or left.
POLL_SECONDS = 2.0
# Tasks for each worker: one runs and one waits.
IN_FLIGHT = 2
# After more deaths of its workers than this, a task is taken for the cause. Dask itself allows as many.
MAX_DEATHS = 3


@dataclass(eq=False)
class _SharedBlock:
    """A block, the future of its cases in the cluster, and the workers that may hold them."""

    name: str
    block: Block
    workers: frozenset[str] = frozenset()
    cases: Future | None = None


@dataclass(frozen=True, eq=False)
class _SubmittedTask:
    """A submitted task, its block, the workers that may run it, and how often it was submitted."""

    task: worker_runtime.Task
    block: _SharedBlock
    workers: frozenset[str]
    future: Future
    times: int

    def result(self) -> worker_runtime.Done:
        """Return the result of the task.

        Raises:
            UsageError: if its workers died, or the scheduler is gone.
        """
        try:
            done: worker_runtime.Done = self.future.result()
        except KilledWorker as error:
            raise UsageError(self.deadly) from error
        except CancelledError as error:
            raise UsageError(f"{self.task.label}: the scheduler has dropped it or has stopped; {RESUME}") from error
        return done

    @property
    def deadly(self) -> str:
        """The message if the task's workers keep dying."""
        died = "the workers that had it died, one after the other; do they have enough memory?"
        return f"{self.task.label}: {died} {RESUME}"


class Dask(Cluster):
    """An `Executor` on a Dask cluster. Tasks run on workers that have their framework and device, in any order.

    ``address`` is ``HOST:PORT`` of the scheduler. For the other arguments see `Pools`; each worker has one.
    """

    def __init__(
        self, address: str, frameworks: Sequence[str], logs: Path, timeout: float, memory_limit: float | None = None
    ) -> None:
        super().__init__(address, worker_runtime.Setting(uuid.uuid4().hex, tuple(frameworks), timeout, memory_limit))
        self._logs = logs
        self._submitted: dict[str, _SubmittedTask] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def recorded(self, manifest: Manifest) -> Manifest:
        """Return the manifest with the workers' hardware and environment and the list of hosts.

        In a resumed run the list includes the earlier hosts.
        """
        now = hosts(self.surveys.values())
        then = [h for h in manifest.cluster.get("hosts", ()) if h not in now]
        return replace(
            manifest,
            hardware=max(now, key=lambda host: host["workers"])["hardware"],
            environment=next(iter(self.surveys.values())).environment,
            cluster={
                "executor": "dask",
                "scheduler": self.address,
                "workers": len(self.surveys),
                "hosts": then + now,
                "passed_over": self.passed_over,
            },
        )

    def measure(self, blocks: Iterable[Block], store: Run) -> Iterator[tuple[int, str]]:
        """See `Executor`.

        Raises:
            UsageError: if no worker is left that can measure a cell, a task's workers keep dying, or the scheduler is
                gone.
        """
        # A block is sent with a task and may exceed the size at which Dask warns.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "4GiB"}):
            yield from self._measure(blocks, store)

    def _measure(self, blocks: Iterable[Block], store: Run) -> Iterator[tuple[int, str]]:
        tasks, polled = _tasks(blocks, store.manifest.run), time.monotonic()
        while True:
            room = IN_FLIGHT * max(1, len(self.usable))
            while len(self._submitted) < room and (task := next(tasks, None)) is not None:
                self._submit(*task)
            if not self._submitted:
                return
            with suppress(queue.Empty):
                ended = self._submitted.pop(self._ended.get(timeout=POLL_SECONDS), None)
                if ended is not None:
                    done = ended.result()
                    for part, data, programs in done.parts:
                        store.write_encoded(part, data, programs)
                    yield done.rows, done.label
            if time.monotonic() - polled > POLL_SECONDS:
                self.update()
                self._submit_again()
                polled = time.monotonic()

    def _submit(self, task: worker_runtime.Task, block: _SharedBlock, times: int = 1) -> None:
        cell, part = task.parts[0]
        workers = self.able(cell)
        future = self.client.submit(
            worker_runtime.perform, self.setting, task, self._cases(block),
            key=f"logitlab-{cell.label}-{part}-{uuid.uuid4().hex}", pure=False,
            workers=sorted(workers), allow_other_workers=False, resources=required_resources(cell),
        )  # fmt: skip
        self._submitted[future.key] = _SubmittedTask(task, block, workers, future, times)
        future.add_done_callback(lambda done: self._ended.put(done.key))

    def _cases(self, block: _SharedBlock) -> Future:
        """Return the future of the block's cases; they are sent again only if no worker that may hold them is left."""
        if not block.workers & self.alive:
            block.workers = self.usable
            block.cases = self.client.submit(
                worker_runtime.hold, block.block.cases,
                key=f"{block.name}-{uuid.uuid4().hex}", pure=False, workers=sorted(block.workers),
            )  # fmt: skip
        return block.cases

    def _submit_again(self) -> None:
        """Submit the tasks of workers that have left to other workers."""
        alive = self.alive
        for key, one in list(self._submitted.items()):
            # A worker that Dask's nanny has restarted has another address.
            gone = not (one.workers & alive and one.block.workers & alive)
            if gone and not one.future.done():
                del self._submitted[key]
                one.future.cancel()
                if one.times > MAX_DEATHS:
                    raise UsageError(one.deadly)
                self._submit(one.task, one.block, one.times + 1)

    def compare_bits(self, cells: Sequence[Cell], store: Run) -> Iterator[tuple[int, int, str]]:
        """Raise a UsageError: a request for it is refused before the run starts."""
        raise UsageError("bitwise invariance is not measured on a cluster; leave out the executor")

    def fetch_logs(self) -> None:
        """End the run's processes on the workers and fetch their logs, one file for each worker and key."""
        self.poll()
        futures = {a: self.submit_to(a, worker_runtime.close) for a in sorted(self.usable)}
        for address, future in futures.items():
            while not future.done() and address in self.alive:
                time.sleep(0.05)
                self.poll()
            with suppress(Exception):  # the worker has left
                logs: dict[str, bytes] = future.result(timeout=POLL_SECONDS)
                where = f"{self.surveys[address].host}-{address.rpartition(':')[2]}"
                for name, text in logs.items():
                    (self._logs / f"{where}-{name}").write_bytes(text)


def _tasks(blocks: Iterable[Block], run: str) -> Iterator[tuple[worker_runtime.Task, _SharedBlock]]:
    for number, block in enumerate(blocks):
        shared = _SharedBlock(f"logitlab-block-{number}", block)
        yield from ((worker_runtime.Task(run, shared.name, parts, block.oracle), shared) for parts in _divided(block))


def _divided(block: Block) -> Iterator[tuple[tuple[Cell, int], ...]]:
    """Yield the parts of each task of a block: one cell, or for a piece of a file the cells that share a process.

    The workers cache the exact answers of cases held in memory on disk, for the other cells. The exact answers of a
    piece of a file are most of its work and are not cached, so one task uses them for all its cells.
    """
    parts = list(block.parts.items())
    if any(case.first_row is None for case in block.cases):
        yield from ((part,) for part in parts)
        return

    def shared(part: tuple[Cell, int]) -> tuple[str, str, str]:
        return part[0].dtype, part[0].worker_key, part[0].device

    yield from (tuple(same) for _, same in groupby(sorted(parts, key=shared), key=shared))
