"""The manifest of a run, ``manifest.json``: what was to be measured, with what, on what, and how far it has come."""

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
# Written only where there is something to say; all other facts always.
_WHERE_SET = ("cluster", "finished", "packed")


class Hardware(TypedDict):
    """The machine that measured, as far as it describes itself."""

    system: str
    machine: str
    processor: str
    cores: NotRequired[int | None]
    memory: NotRequired[str | None]
    python: NotRequired[str]


class Host(TypedDict):
    """Workers of a cluster that are alike, all on one host, and how many they are."""

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
    """What tells one cell from the others, in the table and in the plan."""

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
    """What ``manifest.json`` holds, in its order.

    Attributes:
        versions: of LogitLab and the packages that it measures with.
        frameworks: the versions of each framework's packages.
        distributions: the name that pip knows each package by.
        missing: what was not measured, and why.
        settings: what each framework computes with.
        conventions: the definition of a weighted mean of each implementation that has its own.
        cells: the cells of the plan, in its order.
        variants: environment variables by ``framework mode``.
        plain_only: ``framework mode`` that take no loss options.
        interface: ``command line`` or ``python``.
        packed: whether all measurements are in one part.
        lost: facts that the file should have and has not, or not in their form. Their defaults are not written.
        other: facts that this LogitLab does not know. They are written as they were.
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
    hardware: Hardware = field(default_factory=lambda: Hardware(system="hardware not told", machine="", processor=""))
    devices: dict[str, list[str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    conventions: dict[str, str] = field(default_factory=dict)
    catalogue: Catalogue = field(default_factory=lambda: Catalogue(hash="not told", cases=[]))
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
        """The manifest that a JSON object holds; what is lost has its default."""
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
        """The contents of the file."""
        empty = Manifest()
        unsaid = {n for n in (*self.lost, *_WHERE_SET) if getattr(self, n) == getattr(empty, n)}
        content = {n: getattr(self, n) for n in _FACTS if n not in unsaid} | dict(self.other)
        # What is no Unicode in a command becomes JSON's own escape for it.
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")

    @property
    def logitlab(self) -> str:
        return self.versions.get("logitlab", "(version not told)")

    @property
    def packages(self) -> dict[str, str]:
        return {package: version for of in self.frameworks.values() for package, version in of.items()}

    @property
    def machine(self) -> str:
        return f"{self.hardware['processor'] or self.hardware['machine']}, {self.hardware['system']}"

    @property
    def nonempty_settings(self) -> dict[str, dict[str, str]]:
        """The settings of the frameworks that have some."""
        return {name: settings for name, settings in self.settings.items() if settings}

    @property
    def left_out_by_dtype(self) -> dict[str, int]:
        """How many cases each dtype cannot hold."""
        return Counter(entry["dtype"] for entry in self.left_out)

    def part(self, block: int, cell: int) -> int:
        """The number of the part that holds one cell's measurements of one block of cases."""
        return block * len(self.cells) + cell

    def cell_of(self, part: int) -> PlannedCell | None:
        """The cell that a part holds; None where it holds several, or the plan is not known."""
        return None if self.packed or not self.cells else self.cells[part % len(self.cells)]

    @property
    def planned_parts(self) -> frozenset[int] | None:
        """The numbers of the parts that the run will have; None where the manifest does not tell."""
        if self.packed:
            return frozenset([0])
        is_read_in_pieces = any("rows" in file for file in self.files)
        return None if is_read_in_pieces or not self.cells else frozenset(range(len(self.cells)))


_FACTS = tuple(f.name for f in fields(Manifest) if f.name not in ("lost", "other"))


class DamagedManifestError(UsageError):
    """A manifest that is there and cannot be read."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        UsageError: if there is none, or one of a newer LogitLab; `DamagedManifestError` if it cannot be read.
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
    """Writes the manifest of a run folder."""
    files.write(folder / MANIFEST, manifest.encoded())
