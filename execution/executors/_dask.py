"""The workers of a Dask cluster: what they have, what they are given, and what becomes of those that die."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import dask
from distributed import Client, Future, KilledWorker, fire_and_forget

from ...core.errors import UsageError
from ...storage.manifest import Manifest
from ...storage.store import Run
from .. import environment
from ..measuring import Work
from ..plan import Cell
from ..worker import Description
from . import _worker_runtime as _site
from ._survey import Survey, differences, hosts, together

# Seconds to wait for a scheduler, for a first worker, and for another where none is left that a task can go to.
PATIENCE = 30.0
# Seconds between looks at who has come and who has gone.
EVERY = 2.0
# For each worker: one task that runs and one that waits for it.
IN_FLIGHT = 2
# Of a task's workers, before the task is thought to be what they die of; as many as Dask itself allows.
MAX_DEATHS = 3
GOES_ON = "what was measured is kept: go on with it by --resume"


@dataclass(eq=False)
class _Block:
    """A block's cases, here and in the cluster, and the workers that may hold them there."""

    name: str
    work: Work
    workers: frozenset[str] = frozenset()
    held: Future | None = None


@dataclass(frozen=True, eq=False)
class _Given:
    """A task handed to the cluster, the block it is about, the workers it may go to, and how often it was given."""

    task: _site.Task
    block: _Block
    workers: frozenset[str]
    future: Future
    times: int

    @property
    def label(self) -> str:
        return self.task.parts[0][0].label


class Dask:
    """See `Executor`. Tasks go to the workers that have their framework and device, and come back in any order.

    Args:
        address: ``HOST:PORT`` of the scheduler.
        frameworks: their names.
        logs: a folder for what the frameworks print on the workers.
        timeout: seconds after which a call is given up.
        memory_limit: GiB of memory above which a process that makes calls is ended.
    """

    def __init__(
        self, address: str, frameworks: Sequence[str], logs: Path, timeout: float, memory_limit: float | None = None
    ) -> None:
        secure = dask.config.get("distributed.comm.require-encryption", None)
        self._address = f"{'tls' if secure else 'tcp'}://{address}"
        self._logs = logs
        self._frameworks = tuple(frameworks)
        self._setting = _site.Setting(uuid.uuid4().hex, self._frameworks, timeout, memory_limit)
        self._surveys: dict[str, Survey] = {}
        self._asked: dict[str, Future] = {}
        self._alive: dict[str, Mapping[str, Any]] = {}
        self._passed_over: dict[str, str] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._looked = 0.0

    def __enter__(self) -> Self:
        try:
            self._client = Client(self._address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            told = " ".join(str(error).split())
            raise UsageError(
                f"no Dask scheduler answers at {self._address} ({told}); start one by `dask scheduler`"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever went wrong, workers are told to end what they have started for this run.
        with suppress(Exception):
            for address in self._surveys.keys() & self._look().keys():
                fire_and_forget(self._at(address, _site.close))
        self._client.close()

    # --- who is there ---

    def describe(self) -> dict[str, Description]:
        """What the workers have of each framework, all together.

        Raises:
            UsageError: if there is no worker, none that has LogitLab, or not all have the same versions.
        """
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise UsageError(f"no worker has joined {self._address}; start some by `dask worker`") from None
        while self._newcomers(self._look()):
            time.sleep(0.05)
        if not self._surveys:
            told = "; ".join(f"{name}: {why}" for name, why in list(self._passed_over.items())[:3])
            raise UsageError(f"no worker of {self._address} can be used: {told}")
        self._must_agree()
        return together(self._frameworks, list(self._surveys.values()))

    def _must_agree(self) -> None:
        told = self._differences(self._surveys.values())
        if told:
            raise UsageError(
                f"the workers of {self._address} are not all alike: {'; '.join(told)}; a run needs the same everywhere"
            )

    @staticmethod
    def _differences(surveys: Iterable[Survey]) -> list[str]:
        listed = list(surveys)
        here = {"Python": str(environment.hardware()["python"]), **environment.own_versions()}
        packages = {"this machine": here} | {s.name: s.packages for s in listed}
        return differences(packages) + differences({s.name: s.environment for s in listed}, absent="not set")

    def _look(self) -> Mapping[str, Mapping[str, Any]]:
        """The workers that are there now, by their addresses."""
        if self._client.status != "running":
            raise UsageError(f"the connection to {self._address} was lost; {GOES_ON}")
        self._alive = self._client.scheduler_info(n_workers=-1)["workers"]
        self._looked = time.monotonic()
        return self._alive

    def _newcomers(self, alive: Mapping[str, Any]) -> bool:
        """Asks workers that have come, and hears those that have answered; whether some have not yet."""
        for address in alive.keys() - self._surveys.keys() - self._passed_over.keys() - self._asked.keys():
            self._asked[address] = self._at(address, _site.survey, address)
        for address, future in list(self._asked.items()):
            if address in alive and not future.done():
                continue
            del self._asked[address]
            if address in alive:
                self._heard(address, future)
        return bool(self._asked)

    def _at(self, address: str, function: Any, *arguments: Any) -> Future:
        return self._client.submit(
            function, self._setting, *arguments,
            workers=[address], allow_other_workers=False, pure=False, priority=1,
        )  # fmt: skip

    def _heard(self, address: str, future: Future) -> None:
        try:
            survey: Survey = future.result()
        except Exception as error:  # one that lacks LogitLab, too
            self._passed_over[address] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            return
        self._surveys[address] = survey

    def recorded(self, manifest: Manifest) -> Manifest:
        """Hardware and environment of the workers, and who they are; those of before a run was resumed too."""
        now = hosts(self._surveys.values())
        then = [h for h in manifest.cluster.get("hosts", ()) if h not in now]
        return replace(
            manifest,
            hardware=max(now, key=lambda host: host["workers"])["hardware"],
            environment=next(iter(self._surveys.values())).environment,
            cluster={
                "executor": "dask",
                "scheduler": self._address,
                "workers": len(self._surveys),
                "hosts": then + now,
                "passed_over": self._passed_over,
            },
        )

    # --- what they are given ---

    def measure(self, works: Iterable[Work], store: Run) -> Iterator[tuple[int, str]]:
        """See `Executor`.

        Raises:
            UsageError: if no worker is left that has what a cell needs, workers die of a task again and again, or the
                scheduler is gone.
        """
        # A block travels with the task that holds it, and may be larger than what Dask warns of.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "4GiB"}):
            yield from self._measure(self._tasks(works, store.manifest.run), store)

    def _measure(self, tasks: Iterator[tuple[_site.Task, _Block]], store: Run) -> Iterator[tuple[int, str]]:
        given: dict[str, _Given] = {}
        while True:
            while len(given) < self._room() and (task := next(tasks, None)) is not None:
                self._give(given, *task)
            if not given:
                return
            with suppress(queue.Empty):
                one = given.pop(self._ended.get(timeout=EVERY), None)
                if one is not None:
                    done = self._result(one)
                    for part, data in done.parts:
                        store.write_encoded(part, data)
                    yield done.rows, done.label
            if time.monotonic() - self._looked > EVERY:
                self._look_after(given)

    @staticmethod
    def _tasks(works: Iterable[Work], run: str) -> Iterator[tuple[_site.Task, _Block]]:
        for number, work in enumerate(works):
            block = _Block(f"logitlab-block-{number}", work)
            yield from ((_site.Task(run, block.name, parts, work.quad), block) for parts in divided(work))

    def _held(self, block: _Block) -> Future:
        """The block's cases in the cluster, sent once for all its tasks while a worker is left that may have them."""
        if not block.workers & self._alive.keys():
            block.workers = frozenset(self._surveys.keys() & self._alive.keys())
            block.held = self._client.submit(
                _site.hold, block.work.cases,
                key=f"{block.name}-{uuid.uuid4().hex}", pure=False, workers=sorted(block.workers),
            )  # fmt: skip
        return block.held

    def _room(self) -> int:
        return IN_FLIGHT * max(1, len(self._surveys.keys() & self._alive.keys()))

    def _give(self, given: dict[str, _Given], task: _site.Task, block: _Block, times: int = 1) -> None:
        cell = task.parts[0][0]
        workers = self._able(cell)
        future = self._client.submit(
            _site.perform, self._setting, task, self._held(block),
            key=f"logitlab-{cell.label}-{task.parts[0][1]}-{uuid.uuid4().hex}", pure=False,
            workers=sorted(workers), allow_other_workers=False, resources=_resources(cell),
        )  # fmt: skip
        given[future.key] = _Given(task, block, workers, future, times)
        future.add_done_callback(lambda done: self._ended.put(done.key))

    def _able(self, cell: Cell) -> frozenset[str]:
        """The workers that can measure a cell, waited for a while if there is none.

        Raises:
            UsageError: if there is still none.
        """
        end = time.monotonic() + PATIENCE
        while True:
            needs = _resources(cell) or {}
            able = (a for a, s in self._surveys.items() if a in self._alive and s.can(cell))
            found = frozenset(a for a in able if all(self._alive[a]["resources"].get(r, 0) for r in needs))
            if found:
                return found
            if time.monotonic() > end:
                raise UsageError(self._none_able(cell))
            time.sleep(0.2)
            self._newcomers(self._look())
            self._pass_over_who_differs()

    def _none_able(self, cell: Cell) -> str:
        what = f"{cell.implementation.name} on {cell.device}"
        if cell.device != "cpu" and any(a in self._alive and s.can(cell) for a, s in self._surveys.items()):
            return f"no worker that has {what} says that it has a GPU; start those by `dask worker --resources GPU=1`"
        return f"no worker of {self._address} is left that has {what}; start one; {GOES_ON}"

    def _look_after(self, given: dict[str, _Given]) -> None:
        """Takes in the workers that have come, and gives the tasks of those that have gone to others."""
        alive = self._look()
        self._newcomers(alive)
        self._pass_over_who_differs()
        for key, one in list(given.items()):
            # A worker that Dask's nanny has started again has another address.
            gone = not (one.workers & alive.keys() and one.block.workers & alive.keys())
            if gone and not one.future.done():
                del given[key]
                one.future.cancel()
                if one.times > MAX_DEATHS:
                    raise UsageError(_deadly(one))
                self._give(given, one.task, one.block, one.times + 1)

    def _pass_over_who_differs(self) -> None:
        """A worker that comes later and is not like the others is left out; the run has begun."""
        first = next(iter(self._surveys.values()))
        for address, survey in list(self._surveys.items())[1:]:
            told = self._differences([first, survey])
            if told:
                self._passed_over[address] = "; ".join(told)
                del self._surveys[address]

    def _result(self, one: _Given) -> _site.Done:
        try:
            done: _site.Done = one.future.result()
        except KilledWorker as error:
            raise UsageError(_deadly(one)) from error
        except CancelledError as error:
            raise UsageError(f"{one.label}: {self._address} has dropped it, or is gone; {GOES_ON}") from error
        return done

    def fetch_logs(self) -> None:
        """Ends the run's processes on the workers, and brings home what they printed, a file for each and lane."""
        there = self._surveys.keys() & self._look().keys()
        futures = {address: self._at(address, _site.close) for address in sorted(there)}
        for address, future in futures.items():
            while not future.done() and address in self._look():
                time.sleep(0.05)
            with suppress(Exception):  # a log of a worker that has gone
                logs: dict[str, bytes] = future.result(timeout=EVERY)
                for name, text in logs.items():
                    where = self._address_in_words(address)
                    (self._logs / f"{where}-{name}").write_bytes(text)

    def _address_in_words(self, address: str) -> str:
        host = self._surveys[address].host
        return f"{host}-{address.rpartition(':')[2]}"


def _deadly(one: _Given) -> str:
    return f"{one.label}: the workers that had it died, one after the other; do they have enough memory? {GOES_ON}"


def divided(work: Work) -> Iterator[tuple[tuple[Cell, int], ...]]:
    """The tasks of a block: each cell by itself; of a piece of a file, the cells of a dtype that share a process.

    The exact answers of cases held in memory are kept on the workers' disks, for the other cells; a piece of a file is
    seen once, and its exact answers are most of the work.
    """
    parts = list(work.parts.items())
    if any(case.first_row is None for case in work.cases):
        yield from ((part,) for part in parts)
        return

    def shared(part: tuple[Cell, int]) -> tuple[str, str, str]:
        return part[0].dtype, part[0].lane, part[0].device

    yield from (tuple(same) for _, same in groupby(sorted(parts, key=shared), key=shared))


def _resources(cell: Cell) -> dict[str, float] | None:
    """What a task holds while it runs, in the words of `dask worker --resources`."""
    return None if cell.device == "cpu" else {"GPU": 1}
