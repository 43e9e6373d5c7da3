"""What a Dask worker keeps for a run: the frameworks' own processes, so that a fault costs one call there too."""

from __future__ import annotations

import multiprocessing
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from distributed import get_worker

from .. import environment
from ..cases import Case
from ..measuring import Grouped, Work, grouped, measure
from ..plan import Cell
from ..pool import Pools
from ..store import encoded
from ._survey import Survey

# Of a lane's log, which a run brings home from each worker: its end.
MOST_LOG = 2**16


@dataclass(frozen=True)
class Setting:
    """A run's, the same for all that it asks of a worker; the key tells it from other runs."""

    key: str
    frameworks: tuple[str, ...]
    timeout: float


@dataclass(frozen=True, eq=False)
class Task:
    """Cells of one block, in one dtype, and what tells the block from others; of the run of this name."""

    run: str
    block: str
    parts: tuple[tuple[Cell, int], ...]


@dataclass
class Done:
    """The files of a task's parts, how many rows were measured, and in which cell last."""

    parts: list[tuple[int, bytes]] = field(default_factory=list)
    rows: int = 0
    label: str = ""


@dataclass
class _Slot:
    """Processes that one task has for itself, and the block that it measured last: its exact answers serve the next."""

    pools: Pools
    block: str = ""
    groups: dict[str, Grouped] = field(default_factory=dict)

    def grouped(self, block: str, work: Work) -> Grouped:
        if block != self.block:
            self.block, self.groups = block, {}
        (dtype,) = {cell.dtype for cell in work.parts}
        if dtype not in self.groups:
            self.groups[dtype] = grouped(work)
        return self.groups[dtype]


class _Site:
    def __init__(self, setting: Setting) -> None:
        # Dask starts its workers as processes that may have no children, so that these never outlive them; those of
        # a pool end with their parent by themselves.
        multiprocessing.current_process().daemon = False
        self.setting = setting
        # Dask removes what is left there by a worker that was killed.
        self.folder = tempfile.TemporaryDirectory(prefix="logitlab-", dir=get_worker().local_directory)
        self._idle: list[_Slot] = []
        self._made = 0
        self._closed = False
        self._lock = threading.Lock()

    @contextmanager
    def slot(self) -> Iterator[_Slot]:
        """Each of a worker's threads has processes of its own, started when there are none that wait."""
        with self._lock:
            slot = self._idle.pop() if self._idle else None
            self._made += slot is None
            logs = Path(self.folder.name) / str(self._made)
        slot = slot or _Slot(Pools(self.setting.frameworks, logs, self.setting.timeout))
        try:
            yield slot
        finally:
            with self._lock:
                self._idle.append(slot)
            if self._closed:
                self.close()

    def close(self) -> None:
        """Ends the processes, those of a task under way when it has ended."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for slot in idle:
            slot.pools.__exit__()

    def logs(self) -> dict[str, bytes]:
        """The end of each lane's log, by its file's name; those of several processes one behind the other."""
        found: dict[str, bytes] = {}
        for log in sorted(Path(self.folder.name).rglob("*.log")):
            found[log.name] = found.get(log.name, b"") + log.read_bytes()[-MOST_LOG:]
        return {name: text for name, text in found.items() if text}


_sites: dict[str, _Site] = {}
_sites_lock = threading.Lock()


def _site(setting: Setting) -> _Site:
    with _sites_lock:
        if setting.key not in _sites:
            # A run that was killed has not closed its own.
            for old in _sites.values():
                old.close()
            _sites.clear()
            _sites[setting.key] = _Site(setting)
        return _sites[setting.key]


def survey(setting: Setting, address: str) -> Survey:
    """What this worker has; its frameworks are imported in the processes that will be called later."""
    with _site(setting).slot() as slot:
        described = slot.pools.describe()
    return Survey(
        address, socket.gethostname(), environment.hardware(), environment.own_versions(),
        environment.numeric_variables(), described,
    )  # fmt: skip


def hold(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The block's cases, kept in the cluster for all its tasks, and made again where the worker that had them died."""
    return tuple(cases)


def perform(setting: Setting, task: Task, cases: tuple[Case, ...]) -> Done:
    """Measures a task's cells."""
    done, work = Done(), Work(cases, dict(task.parts))

    def keep(part: int, table: pd.DataFrame) -> None:
        done.parts.append((part, encoded(table)))

    with _site(setting).slot() as slot:
        for rows, label in measure(slot.pools, task.run, work, slot.grouped(task.block, work), keep):
            done.rows, done.label = done.rows + rows, label
    return done


def close(setting: Setting) -> dict[str, bytes]:
    """Ends the run's processes on this worker, and gives what they printed, by the log's name."""
    with _sites_lock:
        site = _sites.pop(setting.key, None)
    if site is None:
        return {}
    site.close()
    logs = site.logs()
    site.folder.cleanup()
    return logs
