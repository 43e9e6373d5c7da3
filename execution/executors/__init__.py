"""WHERE calls run: in processes of this machine, or on the workers of a Dask cluster."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ...core.errors import UsageError
from ...storage.manifest import Manifest
from ...storage.store import Run
from ..bitwise._cells import compare_bits
from ..measuring import Block, measure
from ..plan import Cell
from ..pool import Pools
from ..registry import Description

__all__ = ["Executor", "opened"]

_DASK = re.compile(r"dask://(?P<address>[^/\s]+:\d+)/?")


class Executor(AbstractContextManager["Executor"], Protocol):
    """A place that runs calls, for the length of a ``with`` block."""

    def describe(self) -> dict[str, Description]:
        """Return the descriptions of the frameworks in that place."""

    def recorded(self, manifest: Manifest) -> Manifest:
        """Return the manifest with the facts about the place."""

    def measure(self, blocks: Iterable[Block], store: Run) -> Iterator[tuple[int, str]]:
        """Measure all blocks and write each cell's table into the store; yield rows done and their cell."""

    def compare_bits(self, cells: Sequence[Cell], store: Run) -> Iterator[tuple[int, int, str]]:
        """Measure the bitwise invariance of the cells; yield the trials done, their number, and the cell."""

    def fetch_logs(self) -> None:
        """Copy the frameworks' output into the folder for logs."""


class Local(Pools):
    """The machine that starts the run: each framework runs in separate processes."""

    def recorded(self, manifest: Manifest) -> Manifest:
        return manifest

    def measure(self, blocks: Iterable[Block], store: Run) -> Iterator[tuple[int, str]]:
        for block in blocks:
            yield from measure(self, store.manifest.run, block, block.grouped(), store.write)

    def compare_bits(self, cells: Sequence[Cell], store: Run) -> Iterator[tuple[int, int, str]]:
        return compare_bits(self, cells, store)

    def fetch_logs(self) -> None:
        """Do nothing: the workers write their logs to that folder."""


def opened(
    asked: str | None, frameworks: Sequence[str], logs: Path, timeout: float, memory_limit: float | None = None
) -> Executor:
    """Return the requested executor: None for this machine, or ``dask://HOST:PORT``.

    Raises:
        UsageError: for another name, or if Dask is not installed.
    """
    if asked is None:
        return Local(frameworks, logs, timeout, memory_limit)
    found = _DASK.fullmatch(asked)
    if found is None:
        raise UsageError(
            f"unknown executor {asked!r}; give the dask://HOST:PORT of a Dask scheduler, or none for this machine"
        )
    try:
        from ._dask import Dask  # noqa: PLC0415 - Dask is optional, and takes a second to import
    except ImportError as error:
        message = f"{asked} needs Dask, which cannot be imported ({error}); install it with "
        message += "`pip install 'logitlab[dask]'`"
        raise UsageError(message) from error
    return Dask(found["address"], frameworks, logs, timeout, memory_limit)
