"""What a Dask worker keeps for a run: the frameworks' own processes, so that a fault costs one call there too."""

import multiprocessing
import socket
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from distributed import get_worker

from ...cases import Case
from ...core.vocabulary import OracleKind
from ...storage.store import encoded
from .. import environment
from ..measuring import Block, Grouped, measure
from ..plan import Cell
from ..pool import Pools
from ._survey import Survey

# Of each log that a run fetches from a worker, its end.
MAX_LOG_BYTES = 2**16


@dataclass(frozen=True)
class Setting:
    """The setting of a run, the same for all that it asks of a worker; the key tells it from other runs."""

    key: str
    frameworks: tuple[str, ...]
    timeout: float
    memory_limit: float | None


@dataclass(frozen=True, eq=False)
class Task:
    """Cells of one block, in one dtype; ``block`` tells it from others, ``run`` is the run's name. See `Block`."""

    run: str
    block: str
    parts: tuple[tuple[Cell, int], ...]
    oracle: OracleKind

    @property
    def label(self) -> str:
        """The task's first cell in words."""
        return self.parts[0][0].label


@dataclass
class Done:
    """The files of a task's parts, how many rows were measured, and in which cell last."""

    parts: list[tuple[int, bytes]] = field(default_factory=list)
    rows: int = 0
    label: str = ""


class _WorkerRuntime:
    """A run's processes on this worker, and the block that was measured last: its exact answers serve the next cell."""

    def __init__(self, setting: Setting) -> None:
        # Dask starts its workers as processes that may have no children, so that these never outlive them; those of
        # a pool end with their parent by themselves.
        multiprocessing.current_process().daemon = False
        # Dask removes what is left there by a worker that was killed.
        self._folder = tempfile.TemporaryDirectory(prefix="logitlab-", dir=get_worker().local_directory)
        self.pools = Pools(setting.frameworks, Path(self._folder.name), setting.timeout, setting.memory_limit)
        self._block = ""
        self._groups: dict[str, Grouped] = {}

    def grouped(self, name: str, block: Block) -> Grouped:
        if name != self._block:
            self._block, self._groups = name, {}
        (dtype,) = {cell.dtype for cell in block.parts}
        if dtype not in self._groups:
            self._groups[dtype] = block.grouped()
        return self._groups[dtype]

    def close(self) -> dict[str, bytes]:
        """Ends the processes, and returns the end of each log, by its file's name."""
        self.pools.__exit__()
        logs = {log.name: log.read_bytes()[-MAX_LOG_BYTES:] for log in sorted(Path(self._folder.name).glob("*.log"))}
        self._folder.cleanup()
        return {name: text for name, text in logs.items() if text}


# A run's processes serve one task at a time, and ball arithmetic, whose precision is the process's, one thread. So a
# worker does one thing at a time, whatever its threads; nothing is lost by it, since grading holds the interpreter.
_one_at_a_time = threading.Lock()
_runtimes: dict[str, _WorkerRuntime] = {}


def _runtime(setting: Setting) -> _WorkerRuntime:
    if setting.key not in _runtimes:
        # A run that was killed has not closed its own.
        for key in list(_runtimes):
            _runtimes.pop(key).close()
        _runtimes[setting.key] = _WorkerRuntime(setting)
    return _runtimes[setting.key]


def survey(setting: Setting, address: str) -> Survey:
    """What this worker has; its frameworks are imported in the processes that will be called later."""
    with _one_at_a_time:
        described = _runtime(setting).pools.describe()
    return Survey(
        address, socket.gethostname(), environment.hardware(), environment.own_versions(),
        environment.numeric_variables(), described,
    )  # fmt: skip


def hold(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The block's cases, kept in the cluster for all its tasks, and made again where the worker that had them died."""
    return tuple(cases)


def perform(setting: Setting, task: Task, cases: tuple[Case, ...]) -> Done:
    """Measures a task's cells."""
    done, block = Done(), Block(cases, dict(task.parts), task.oracle)

    def keep(part: int, table: pd.DataFrame) -> None:
        done.parts.append((part, encoded(table)))

    with _one_at_a_time:
        runtime = _runtime(setting)
        for rows, label in measure(runtime.pools, task.run, block, runtime.grouped(task.block, block), keep):
            done.rows, done.label = done.rows + rows, label
    return done


def close(setting: Setting) -> dict[str, bytes]:
    """Ends the run's processes on this worker, and returns what they printed, by the log's name."""
    with _one_at_a_time:
        runtime = _runtimes.pop(setting.key, None)
        return {} if runtime is None else runtime.close()
