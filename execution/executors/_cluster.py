"""The workers of a Dask cluster: which have joined, which have left, and which can measure a cell."""

import time
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from typing import Any, Self

import dask
from distributed import Client, Future, fire_and_forget

from ...core.errors import UsageError, format_error
from .. import environment
from ..plan import Cell
from ..registry import Description
from . import _worker_runtime as worker_runtime
from ._survey import Survey, differences, together

# Seconds to wait for a scheduler, for the first worker, and for a new worker if none is left for a task.
PATIENCE = 30.0
RESUME = "resume the run with --resume: its measurements so far are kept"


class Cluster:
    """The workers of one scheduler that have the same versions, for the length of a ``with`` block.

    Each worker is surveyed when it joins.

    Attributes:
        address: the scheduler's address.
        surveys: the surveys of the usable workers, by address; some of these workers may have left.
        passed_over: the reasons why other workers are not used, by address.
    """

    client: Client

    def __init__(self, address: str, setting: worker_runtime.Setting) -> None:
        secure = dask.config.get("distributed.comm.require-encryption", None)
        self.address = f"{'tls' if secure else 'tcp'}://{address}"
        self.surveys: dict[str, Survey] = {}
        self.passed_over: dict[str, str] = {}
        self.setting = setting
        self._surveying: dict[str, Future] = {}
        self._resources: dict[str, Mapping[str, float]] = {}  # of each worker that is alive, by its address

    def __enter__(self) -> Self:
        try:
            self.client = Client(self.address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            message = " ".join(str(error).split())
            raise UsageError(
                f"no Dask scheduler answers at {self.address} ({message}); start one with `dask scheduler`"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        # After an error too, the workers end the processes of this run.
        with suppress(Exception):
            self.poll()
            for address in self.usable:
                fire_and_forget(self.submit_to(address, worker_runtime.close))
        self.client.close()

    def describe(self) -> dict[str, Description]:
        """Return the descriptions of the frameworks, merged over all workers.

        Raises:
            UsageError: if there is no worker, no worker has LogitLab, or the workers have different versions.
        """
        try:
            self.client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise UsageError(
                f"no worker has joined {self.address}; start one with `dask worker {self.address}`"
            ) from None
        end = time.monotonic() + PATIENCE
        # On a busy machine, an answer of the scheduler may lack a worker that the next answer has.
        while self._survey_newcomers() or not (self.surveys or self.passed_over or time.monotonic() > end):
            time.sleep(0.05)
        if not self.surveys:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(self.passed_over.items())[:3]) or "none answered"
            raise UsageError(f"no worker of {self.address} can be used: {reasons}; install LogitLab on the workers")
        found = _differences(self.surveys.values())
        if found:
            raise UsageError(
                f"the workers of {self.address} differ: {'; '.join(found)}; install the same versions on all workers"
            )
        return together(self.setting.frameworks, list(self.surveys.values()))

    @property
    def alive(self) -> Set[str]:
        """The addresses of the workers that were present at the latest poll."""
        return self._resources.keys()

    @property
    def usable(self) -> frozenset[str]:
        """The addresses of the present workers that were surveyed and not passed over."""
        return frozenset(self.surveys.keys() & self.alive)

    def poll(self) -> None:
        """Ask the scheduler which workers are present now.

        Raises:
            UsageError: if the connection to the scheduler is lost.
        """
        if self.client.status != "running":
            raise UsageError(f"the connection to {self.address} was lost; {RESUME}")
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        self._resources = {address: worker["resources"] for address, worker in workers.items()}

    def update(self) -> None:
        """Poll, survey new workers, and pass over those that differ, since the run has started with the others."""
        self._survey_newcomers()
        first = next(iter(self.surveys.values()))
        for address, survey in list(self.surveys.items())[1:]:
            found = _differences([first, survey])
            if found:
                self.passed_over[address] = "; ".join(found)
                del self.surveys[address]

    def _survey_newcomers(self) -> bool:
        """Poll and survey the new workers; return whether some have not answered yet."""
        self.poll()
        for address in self.alive - self.surveys.keys() - self.passed_over.keys() - self._surveying.keys():
            self._surveying[address] = self.submit_to(address, worker_runtime.survey, address)
        for address, future in list(self._surveying.items()):
            if address in self.alive and not future.done():
                continue
            del self._surveying[address]
            if address not in self.alive:
                continue
            try:
                self.surveys[address] = future.result()
            except Exception as error:  # the worker may lack LogitLab
                self.passed_over[address] = format_error(error)[:300]
        return bool(self._surveying)

    def submit_to(self, address: str, function: Callable[..., Any], *arguments: object) -> Future:
        """Submit a call to one worker, with priority over its tasks."""
        return self.client.submit(
            function, self.setting, *arguments,
            workers=[address], allow_other_workers=False, pure=False, priority=1,
        )  # fmt: skip

    def able(self, cell: Cell) -> frozenset[str]:
        """Return the workers that can measure a cell; wait up to `PATIENCE` seconds for the first.

        Raises:
            UsageError: if there is no such worker by then.
        """
        end, needs = time.monotonic() + PATIENCE, required_resources(cell) or {}
        while True:
            having = [address for address in self.usable if self.surveys[address].can(cell)]
            found = frozenset(a for a in having if all(self._resources[a].get(r, 0) for r in needs))
            if found:
                return found
            if time.monotonic() > end:
                what = f"{cell.implementation.name} on {cell.device}"
                raise UsageError(
                    f"no worker with {what} declares a GPU; start one with `dask worker --resources GPU=1`"
                    if having
                    else f"no worker of {self.address} has {what} any more; start one, and {RESUME}"
                )
            time.sleep(0.2)
            self.update()


def _differences(surveys: Iterable[Survey]) -> list[str]:
    listed = list(surveys)
    here = {"Python": str(environment.hardware()["python"]), **environment.own_versions()}
    packages = {"this machine": here} | {s.name: s.packages for s in listed}
    return differences(packages) + differences({s.name: s.environment for s in listed}, absent="not set")


def required_resources(cell: Cell) -> dict[str, float] | None:
    """Return the Dask resources that a task of the cell needs, as in `dask worker --resources`."""
    return None if cell.device == "cpu" else {"GPU": 1}
