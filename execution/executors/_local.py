"""The machine that the run is started on: each framework in processes of its own."""

from collections.abc import Iterable, Iterator

from ...storage.manifest import Manifest
from ...storage.store import Run
from ..measuring import Block, measure
from ..pool import Pools


class Local(Pools):
    """See `Executor`."""

    def recorded(self, manifest: Manifest) -> Manifest:
        return manifest

    def measure(self, blocks: Iterable[Block], store: Run) -> Iterator[tuple[int, str]]:
        for block in blocks:
            yield from measure(self, store.manifest.run, block, block.grouped(), store.write)

    def fetch_logs(self) -> None:
        """They are there."""
