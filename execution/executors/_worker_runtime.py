"""The state of a run on a Dask worker: it runs the frameworks in separate processes, so that a fault costs one call."""

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
from ...storage.schema import ProgramLine
from ...storage.store import encoded, encoded_programs
from .. import environment
from ..measuring import Block, Grouped, measure
from ..plan import Cell
from ..pool import Pools
from ._survey import Survey

# A run fetches at most the last bytes of each log.
MAX_LOG_BYTES = 2**16


@dataclass(frozen=True)
class Setting:
    """The settings of a run, sent with every request to a worker; the key identifies the run."""

    key: str
    frameworks: tuple[str, ...]
    timeout: float
    memory_limit: float | None


@dataclass(frozen=True, eq=False)
class Task:
    """Cells of one block, in one dtype; ``block`` and ``run`` are the names of the block and the run. See `Block`."""

    run: str
    block: str
    parts: tuple[tuple[Cell, int], ...]
    oracle: OracleKind

    @property
    def label(self) -> str:
        """The label of the task's first cell."""
        return self.parts[0][0].label


@dataclass
class Done:
    """The encoded files of a task's parts, the number of measured rows, and the label of the last cell.

    Each part is its number, its measurements, and its programs, if there are any.
    """

    parts: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)
    rows: int = 0
    label: str = ""


class _WorkerRuntime:
    """A run's processes on this worker, and the groups of the latest block, whose exact answers the next cell uses."""

    def __init__(self, setting: Setting) -> None:
        # Dask forbids its workers to have child processes, so that none outlives its worker. The processes of a pool
        # end with their parent anyway.
        multiprocessing.current_process().daemon = False
        # Dask removes the files in this directory if the worker is killed.
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
        """End the processes; return the end of each log by its file name."""
        self.pools.__exit__()
        logs = {log.name: log.read_bytes()[-MAX_LOG_BYTES:] for log in sorted(Path(self._folder.name).glob("*.log"))}
        self._folder.cleanup()
        return {name: text for name, text in logs.items() if text}


# A run's processes serve one task at a time, and the precision of ball arithmetic is global to a process. So a worker
# runs one task at a time, whatever its number of threads. That costs no time, since grading holds the interpreter.
_one_at_a_time = threading.Lock()
_runtimes: dict[str, _WorkerRuntime] = {}


def _runtime(setting: Setting) -> _WorkerRuntime:
    if setting.key not in _runtimes:
        # A killed run has not closed its runtime.
        for key in list(_runtimes):
            _runtimes.pop(key).close()
        _runtimes[setting.key] = _WorkerRuntime(setting)
    return _runtimes[setting.key]


def survey(setting: Setting, address: str) -> Survey:
    """Return the survey of this worker; it imports the frameworks in the processes that later run the calls."""
    with _one_at_a_time:
        described = _runtime(setting).pools.describe()
    return Survey(
        address, socket.gethostname(), environment.hardware(), environment.own_versions(),
        environment.numeric_variables(), described,
    )  # fmt: skip


def hold(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the block's cases; the cluster keeps them for all tasks and recreates them if their worker dies."""
    return tuple(cases)


def perform(setting: Setting, task: Task, cases: tuple[Case, ...]) -> Done:
    """Measure the cells of a task."""
    done, block = Done(), Block(cases, dict(task.parts), task.oracle)

    def keep(part: int, table: pd.DataFrame, programs: Sequence[ProgramLine]) -> None:
        done.parts.append((part, encoded(table), encoded_programs(programs)))

    with _one_at_a_time:
        runtime = _runtime(setting)
        for rows, label in measure(runtime.pools, task.run, block, runtime.grouped(task.block, block), keep):
            done.rows, done.label = done.rows + rows, label
    return done


def close(setting: Setting) -> dict[str, bytes]:
    """End the run's processes on this worker; return the end of each log by its file name."""
    with _one_at_a_time:
        runtime = _runtimes.pop(setting.key, None)
        return {} if runtime is None else runtime.close()
