"""The manifest of a run, ``manifest.json``: its plan, versions, machine and progress."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from ..core import files
from ..core.errors import UsageError
from ..core.facts import Catalogue, InputFile, LeftOut

SCHEMA = 1
MANIFEST = "manifest.json"
REQUIRED = ("complete", "versions", "frameworks", "missing", "left_out", "hardware", "catalogue")
# Written only if they are set; all other facts are always written.
_WRITTEN_IF_SET = ("blocks", "cluster", "finished", "packed")


class Hardware(TypedDict):
    """The machine that measured, as it describes itself."""

    system: str
    machine: str
    processor: str
    cores: NotRequired[int | None]
    memory: NotRequired[str | None]
    python: NotRequired[str]


class Host(TypedDict):
    """Equal workers of a cluster on one host, and their number."""

    host: str
    hardware: Hardware
    versions: dict[str, str]
    frameworks: dict[str, dict[str, str]]
    devices: dict[str, list[str]]
    settings: dict[str, dict[str, str]]
    environment: dict[str, str]
    workers: int


class Cluster(TypedDict, total=False):
    """The cluster that measured; empty for a run on one machine."""

    executor: str
    scheduler: str
    workers: int
    hosts: list[Host]
    passed_over: dict[str, str]


class CellKey(NamedTuple):
    """The identity of a cell, in the table and in the plan."""

    implementation: str
    dtype: str
    device: str
    mode: str


class PlannedCell(NamedTuple):
    """A cell of the run's plan."""

    implementation: str
    dtype: str
    device: str
    mode: str
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``manifest.json``, in its order.

    Attributes:
        versions: the versions of LogitLab and of the packages that it measures with.
        frameworks: the versions of each framework's packages.
        distributions: each package's name in pip.
        missing: the frameworks and implementations that were not measured, and why.
        settings: the settings of each framework that change numbers.
        conventions: the definition of a weighted mean, for implementations with a special one.
        cells: the cells of the plan, in its order.
        catalogue_size: the number of cases of the whole catalogue, 0 if unknown.
        blocks: the MX blocks that hold the logits of all cases, such as ``mxfp8_e4m3``; empty if none do.
        variants: environment variables by ``framework mode``.
        plain_only: each ``framework mode`` that takes no loss options but those of cases for every mode.
        interface: ``command line`` or ``python``.
        packed: whether all measurements are in one part.
        lost: facts that are missing in the file or malformed. Their defaults are not written.
        other: facts that this LogitLab does not know. They are written unchanged.
    """

    schema: int = SCHEMA
    started: str = ""
    complete: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    oracle: str = "balls"
    frameworks: dict[str, dict[str, str]] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    entry_points: dict[str, str] = field(default_factory=dict)
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=lambda: Hardware(system="unknown hardware", machine="", processor=""))
    devices: dict[str, list[str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    conventions: dict[str, str] = field(default_factory=dict)
    catalogue: Catalogue = field(default_factory=lambda: Catalogue(hash="unknown", cases=[]))
    catalogue_size: int = 0
    blocks: str = ""
    files: list[InputFile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    cells: list[PlannedCell] = field(default_factory=list)
    variants: dict[str, dict[str, str]] = field(default_factory=dict)
    plain_only: list[str] = field(default_factory=list)
    cluster: Cluster = field(default_factory=Cluster)
    run: str = ""
    command: str = ""
    interface: str = ""
    finished: str = ""
    packed: bool = False
    lost: tuple[str, ...] = ()
    other: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Manifest:
        """Return the manifest in a JSON object; missing and malformed facts have their defaults."""
        empty = cls()
        known = {n: content[n] for n in _FACTS if isinstance(content.get(n), type(getattr(empty, n)))}
        if not all(isinstance(cell, list) and len(cell) >= len(CellKey._fields) for cell in known.get("cells", ())):
            del known["cells"]
        if not all(isinstance(file, dict) and {"path", "digest"} <= file.keys() for file in known.get("files", ())):
            del known["files"]
        lost = tuple(n for n in _FACTS if n not in known and (n in content or n in REQUIRED))
        known["cells"] = [PlannedCell(*cell[:5]) for cell in known.get("cells", ())]
        known |= {n: getattr(empty, n) | known.get(n, {}) for n in ("hardware", "catalogue")}
        other = {name: value for name, value in content.items() if name not in _FACTS}
        return replace(empty, **known, lost=lost, other=other)

    def encoded(self) -> bytes:
        """Return the contents of the file."""
        empty = Manifest()
        omitted = {n for n in (*self.lost, *_WRITTEN_IF_SET) if getattr(self, n) == getattr(empty, n)}
        content = {n: getattr(self, n) for n in _FACTS if n not in omitted} | dict(self.other)
        # A command may hold bytes that are not Unicode; JSON escapes them.
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")

    @property
    def logitlab(self) -> str:
        return self.versions.get("logitlab", "(unknown version)")

    @property
    def packages(self) -> dict[str, str]:
        return {package: version for of in self.frameworks.values() for package, version in of.items()}

    @property
    def machine(self) -> str:
        return f"{self.hardware['processor'] or self.hardware['machine']}, {self.hardware['system']}"

    @property
    def package_versions(self) -> str:
        """The measured packages with their versions: ``jax 0.10.2, optax 0.2.8``."""
        return ", ".join(f"{package} {version}" for package, version in self.packages.items())

    @property
    def nonempty_settings(self) -> dict[str, dict[str, str]]:
        """The settings of each framework that has any."""
        return {name: settings for name, settings in self.settings.items() if settings}

    @property
    def left_out_by_dtype(self) -> dict[str, int]:
        """The number of cases that each dtype cannot hold."""
        return Counter(entry["dtype"] for entry in self.left_out)

    def part(self, block: int, cell: int) -> int:
        """Return the number of the part that holds one cell's measurements of one block of cases."""
        return block * len(self.cells) + cell

    def cell_of(self, part: int) -> PlannedCell | None:
        """Return the cell of a part, or None if it holds several cells or the plan is unknown."""
        return None if self.packed or not self.cells else self.cells[part % len(self.cells)]

    @property
    def planned_parts(self) -> frozenset[int] | None:
        """The numbers of the parts that the run will have, or None if the manifest does not say."""
        if self.packed:
            return frozenset([0])
        is_read_in_pieces = any("rows" in file for file in self.files)
        return None if is_read_in_pieces or not self.cells else frozenset(range(len(self.cells)))


_FACTS = tuple(f.name for f in fields(Manifest) if f.name not in ("lost", "other"))


class DamagedManifestError(UsageError):
    """A manifest that exists and cannot be read."""


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a run folder.

    Raises:
        UsageError: if it is missing, or from a newer LogitLab; `DamagedManifestError` if it cannot be read.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        schema = int(content["schema"])
        manifest = Manifest.parse({"run": folder.name, **content})
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} is not a run: it has no {MANIFEST}; give a folder written by `logitlab run --out {folder}`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        message = " ".join(str(error).split())
        raise DamagedManifestError(
            f"the {MANIFEST} of {folder} is damaged ({message}); copy it from a backup, or measure again"
        ) from error
    if schema > SCHEMA:
        raise UsageError(
            f"{folder} was written by a newer LogitLab (schema {schema}, this one reads up to {SCHEMA}); "
            "upgrade with `pip install --upgrade logitlab`"
        )
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a run folder."""
    files.write(folder / MANIFEST, manifest.encoded())
