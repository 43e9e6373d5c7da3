"""The runs of a history: run folders, packed runs, baselines, and folders of these."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core import arguments
from ...core.errors import UsageError
from ...storage.manifest import MANIFEST, read_manifest
from ..compare import Source, read_source

EXPECTED = "a run folder, a packed run, a baseline, or a folder of these"
_NOT_PACKAGES = ("LogitLab", "catalogue", "processor")  # facts of a source that are not versions of measured packages


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A run of the history.

    Attributes:
        name: the name of its folder or file.
        source: its lines, in the form for a comparison.
        packages: the versions of the packages that it measured.
        processor: the processor, empty if unknown.
        started: the time at which it started, empty if unknown.
    """

    name: str
    source: Source
    packages: Mapping[str, str]
    processor: str = ""
    started: str = ""


def measured_runs(given: Sequence[str | Path] | str | Path) -> tuple[MeasuredRun, ...]:
    """Read the runs.

    Raises:
        UsageError: for a path that is not `EXPECTED`, a folder without a run, or no path at all.
    """
    paths = list(dict.fromkeys(run for path in arguments.as_paths(given, "runs", EXPECTED) for run in _found(path)))
    if not paths:
        raise UsageError(f"no run is given; give {EXPECTED}")
    return tuple(map(_read, paths))


def _found(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise UsageError(f"{path} does not exist; give {EXPECTED}")
    if not path.is_dir() or (path / MANIFEST).exists():
        yield path
        return
    folders = [manifest.parent for manifest in path.rglob(MANIFEST)]
    runs = sorted([*folders, *path.glob("*.json")])
    if not runs:
        raise UsageError(f"{path} holds neither a run nor a baseline; give {EXPECTED}")
    yield from runs


def _read(path: Path) -> MeasuredRun:
    read = read_source(path)
    packages = {name: fact for name, fact in read.facts.items() if name not in _NOT_PACKAGES}
    started = read_manifest(path).started if path.is_dir() else ""
    return MeasuredRun(path.stem if path.is_file() else path.name, read, packages,
                       read.facts.get("processor", ""), started)  # fmt: skip
