"""WHERE calls are made: in processes of this machine, or on the workers of a Dask cluster."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ...core.errors import UsageError
from ...storage.manifest import Manifest
from ...storage.store import Run
from ..measuring import Block, measure
from ..pool import Pools
from ..registry import Description

__all__ = ["Executor", "opened"]

_DASK = re.compile(r"dask://(?P<address>[^/\s]+:\d+)/?")


class Executor(AbstractContextManager["Executor"], Protocol):
    """Where calls are made, for the length of a ``with`` block."""

    def describe(self) -> dict[str, Description]:
        """Every framework's description of itself there."""

    def recorded(self, manifest: Manifest) -> Manifest:
        """The manifest, with what there is to say of the place."""

    def measure(self, blocks: Iterable[Block], store: Run) -> Iterator[tuple[int, str]]:
        """Measures all, writes each cell's table into the store, and yields how many rows of which cell are done."""

    def fetch_logs(self) -> None:
        """Sees that what the frameworks printed is in the folder for logs."""


class Local(Pools):
    """The machine that the run is started on: each framework in processes of its own."""

    def recorded(self, manifest: Manifest) -> Manifest:
        return manifest

    def measure(self, blocks: Iterable[Block], store: Run) -> Iterator[tuple[int, str]]:
        for block in blocks:
            yield from measure(self, store.manifest.run, block, block.grouped(), store.write)

    def fetch_logs(self) -> None:
        """They are there."""


def opened(
    asked: str | None, frameworks: Sequence[str], logs: Path, timeout: float, memory_limit: float | None = None
) -> Executor:
    """The executor asked for: None for this machine, or ``dask://HOST:PORT``.

    Raises:
        UsageError: for any other, or if Dask is not installed.
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
