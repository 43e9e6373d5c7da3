"""The machine that the run is started on: each framework in processes of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from ...storage.manifest import Manifest
from ...storage.store import Run
from ..measuring import Work, grouped, measure
from ..pool import Pools
from ..worker import Description


class Local:
    """See `Executor`."""

    def __init__(
        self, frameworks: Sequence[str], logs: Path, timeout: float, memory_limit: float | None = None
    ) -> None:
        self._pools = Pools(frameworks, logs, timeout, memory_limit)

    def __enter__(self) -> Self:
        self._pools.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._pools.__exit__(*error)

    def describe(self) -> dict[str, Description]:
        return self._pools.describe()

    def recorded(self, manifest: Manifest) -> Manifest:
        return manifest

    def measure(self, works: Iterable[Work], store: Run) -> Iterator[tuple[int, str]]:
        for work in works:
            yield from measure(self._pools, store.manifest.run, work, grouped(work), store.write)

    def fetch_logs(self) -> None:
        """They are there."""
