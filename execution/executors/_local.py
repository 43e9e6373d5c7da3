"""The machine that the run is started on: each framework in processes of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ...storage.store import Run
from ..measuring import Block, measure
from ..pool import Pools
from ..registry import Description


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

    def facts(self, before: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def measure(self, blocks: Iterable[Block], store: Run) -> Iterator[tuple[int, str]]:
        for block in blocks:
            yield from measure(self._pools, store.manifest["run"], block, block.grouped(), store.write)

    def fetch_logs(self) -> None:
        """They are there."""
