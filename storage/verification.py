"""The verification of a run folder: damaged, missing and repeated measurements, and how to resume the run."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..core import files
from ..core.errors import UsageError
from ..core.finding import Finding, State
from . import lock
from ._parts import BESIDE, BITWISE_FOLDER, CHECKSUMS, FOLDER, PROGRAMS_FOLDER, Parts, numbered, temporaries
from .manifest import MANIFEST, CellKey, DamagedManifestError, Manifest, read_manifest
from .schema import COLUMNS, MEASUREMENT_KEY, typed
from .store import CASES_FILE, LOGS, Run

OF_A_RUN = (MANIFEST, CASES_FILE, CHECKSUMS, lock.FILE, FOLDER, *BESIDE, LOGS, "report")
MAX_NAMES = 5  # in one line
_OF_FILES_BESIDE = {
    PROGRAMS_FOLDER: "programs in the report are",
    BITWISE_FOLDER: "bitwise invariance in the report is",
}


@dataclass(frozen=True)
class Verification:
    """The result of the verification of a run folder.

    Attributes:
        folder: the run folder.
        findings: one for each thing examined.
        rows: the number of measurements of each undamaged part, by its file's name.
        complete: whether the manifest says that the run is complete.
    """

    folder: Path
    findings: tuple[Finding, ...]
    rows: Mapping[str, int]
    complete: bool

    @property
    def sound(self) -> bool:
        """Whether nothing is broken. An incomplete run that can be resumed is sound too."""
        return all(finding.state is not State.BROKEN for finding in self.findings)


def verify(folder: str | Path) -> Verification:
    """Read a whole run folder and report its defects. Nothing is changed.

    Raises:
        UsageError: for a folder that is not a run, or is from a newer LogitLab.
    """
    return _Examination(Path(folder)).done()


class _Examination:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, int] = {}
        self._keys: list[NDArray[np.uint64]] = []
        self._manifest, self._manifest_defect = Manifest(), ""
        try:
            self._manifest = read_manifest(folder)
            if {"cells", "files"}.intersection(self._manifest.lost):
                self._manifest, self._manifest_defect = Manifest(), f"{folder / MANIFEST} has no plan"
        except DamagedManifestError as error:
            self._manifest_defect = str(error)
        self._planned = self._manifest.planned_parts
        self._parts = Parts(folder)

    def done(self) -> Verification:
        of_parts = list(self._each_part())
        lines = (
            self._of_manifest(), *of_parts, self._all_parts(len(of_parts)), *self._of_cases(), *self._of_programs(),
            *self._others(),
        )  # fmt: skip
        return Verification(self._folder, (*lines, self._outlook()), self._rows, self._manifest.complete)

    def _of_manifest(self) -> Finding:
        if self._manifest_defect:
            return Finding(MANIFEST, State.BROKEN, f"{self._manifest_defect}; the parts were not read")
        m, expected = self._manifest, self._parts.checksums.known.get(MANIFEST)
        if m.complete and expected not in (None, files.digest_of(self._folder / MANIFEST)):
            return Finding(MANIFEST, State.BROKEN, "its checksum differs: it changed after the run")
        started = m.started or "(time unknown)"
        return Finding(MANIFEST, State.OK, f"schema {m.schema}, LogitLab {m.logitlab}, started {started}")

    def _each_part(self) -> Iterator[Finding]:
        """Yield the defects of existing parts."""
        for path in numbered(self._folder):
            if self._planned is not None and int(path.stem) not in self._planned:
                yield self._broken(path, "it is not in the run's plan and is not read; remove it")
            elif defect := self._parts.defect(path) or self._table_defect(path):
                yield self._broken(path, f"{defect}; {self._fix}")

    def _broken(self, path: Path, message: str) -> Finding:
        return Finding(self._parts.name(path), State.BROKEN, message)

    def _table_defect(self, path: Path) -> str | None:
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            return f"it cannot be read ({error})"
        defect = _schema_defect(table.schema) or self._content_defect(int(path.stem), table)
        if defect is None:
            self._rows[self._parts.name(path)] = table.num_rows
        return defect

    def _content_defect(self, part: int, table: pa.Table) -> str | None:
        keys = table.select(list(MEASUREMENT_KEY)).to_pandas()
        keys = keys.astype({name: str for name in MEASUREMENT_KEY if name != "row"})
        cell = self._manifest.cell_of(part)
        if cell is not None and any(
            (keys[name] != word).any() for name, word in zip(CellKey._fields, cell, strict=False)
        ):
            return f"it does not hold the measurements of {' '.join(cell[:4])}"
        self._keys.append(np.asarray(pd.util.hash_pandas_object(keys, index=False), np.uint64))
        return None if not keys.duplicated().any() else "it holds repeated rows"

    @property
    def _fix(self) -> str:
        """How to replace a damaged file."""
        return "pack the run again" if self._manifest.packed else f"to measure it again, {self._resume}"

    def _all_parts(self, broken: int) -> Finding:
        expected = {self._parts.path(i) for i in self._planned or ()}
        if self._manifest.complete:
            named = (name for name in self._parts.checksums.known if name.startswith(f"{FOLDER}/"))
            expected |= {self._folder / name for name in named}
        missing = sorted(self._parts.name(path) for path in expected if not path.exists())
        lengths = sorted(self._rows.values()) or [0]
        message = (
            f"{len(self._rows)} whole{f', {broken} not' * (broken > 0)}{f' of {len(expected)}' * bool(expected)}; "
        )
        message += f"{lengths[0]} to {lengths[-1]} rows each, {sum(lengths):,} in all"
        if self._manifest.complete and missing:
            return Finding("parts", State.BROKEN, f"{message}; missing: {_few(missing)}; {self._fix}")
        every = np.concatenate([np.empty(0, np.uint64), *self._keys])
        if len(np.unique(every)) < len(every):
            return Finding("parts", State.BROKEN, f"{message}; some rows are in more than one part")
        if not self._parts.checksums.kept:
            message += "; the run has no checksums, so only whether the parts can be read was checked"
        return Finding("parts", State.OK, message)

    def _of_cases(self) -> Iterator[Finding]:
        path = self._folder / CASES_FILE
        known = CASES_FILE in self._parts.checksums.known
        if not path.exists():
            if known and self._manifest.complete:
                yield Finding(CASES_FILE, State.BROKEN, f"it is missing; {self._fix}")
            return
        defect = self._parts.defect(path) if known else None
        try:
            lines = 0 if self._manifest_defect else len(Run(self._folder).cases())
        except UsageError as error:
            defect = defect or str(error)
        yield Finding(CASES_FILE, State.BROKEN if defect else State.OK, defect or f"{lines} lines about cases")

    def _of_programs(self) -> Iterator[Finding]:
        """Yield the defects of the files of programs and of bitwise invariance, which the measurements do not need."""
        there = {self._parts.name(path): path for of in BESIDE for path in numbered(self._folder, of)}
        known = {n for n in self._parts.checksums.known if n.startswith(tuple(f"{of}/" for of in BESIDE))}
        for name in sorted(known | set(there)):
            defect = self._parts.defect(there[name]) if name in there else "it is missing"
            if defect:
                yield Finding(name, State.BROKEN, f"{defect}; {_OF_FILES_BESIDE[name.partition('/')[0]]} incomplete")

    def _others(self) -> Iterator[Finding]:
        left = [self._parts.name(path) for path in temporaries(self._folder)]
        if left:
            yield Finding("temporary files", State.NOTE, f"{_few(left)}: left by a killed run; --resume removes them")
        known = {*left, *map(self._parts.name, numbered(self._folder))}
        places = (*self._folder.iterdir(), *(self._folder / FOLDER).glob("*"))
        there = {self._parts.name(path) for path in places} - known
        aside = sorted(name for name in there if ".parquet.damaged" in name)
        if aside:
            yield Finding("damaged parts", State.NOTE, f"{_few(aside)}: renamed, and measured again")
        foreign = sorted(there - {*OF_A_RUN, *aside})
        if foreign:
            yield Finding("other files", State.NOTE, f"{_few(foreign)}: not part of the run, and not read")
        found = lock.holder(self._folder)
        if found is not None:
            yield Finding(lock.FILE, State.NOTE, f"{found} writes to the run now")

    def _outlook(self) -> Finding:
        if self._manifest.complete:
            return Finding("run", State.OK, "complete")
        if self._manifest_defect:
            return Finding("run", State.BROKEN, f"restore a copy of {MANIFEST}, or start a new run")
        of = f": {len(self._rows)} of {len(self._planned)} parts are measured" if self._planned else ""
        return Finding("run", State.NOTE, f"incomplete{of}; to resume it, {self._resume}")

    @property
    def _resume(self) -> str:
        """How to resume the run, as it was started: on the command line or in Python."""
        command = self._manifest.command
        if self._manifest.interface == "python":
            call = command.removesuffix(")")
            comma = "" if call.endswith("(") else ", "
            return f"call `{call}{comma}out={str(self._folder)!r}, resume=True)`"
        try:
            words = shlex.split(command)
        except ValueError:  # not a command line
            words = []
        if words[1:2] != ["run"]:  # the command of an older run, which may be any program
            return f"run the same program with `resume=True, out={str(self._folder)!r}`"
        words[0] = "logitlab"
        words += [] if "--resume" in words else ["--resume"]
        given = any(word == "--out" or word.startswith("--out=") for word in words)
        return f"run `{shlex.join(words if given else [*words, '--out', str(self._folder)])}`"


def _schema_defect(schema: pa.Schema) -> str | None:
    lacking = sorted(set(MEASUREMENT_KEY) - set(schema.names))
    if lacking:
        return f"it has no column {', '.join(lacking)}"
    expected = pa.Schema.from_pandas(typed(pd.DataFrame(columns=list(COLUMNS))), preserve_index=False)
    for field in schema:
        if field.name not in expected.names:
            return f"it has an unknown column {field.name!r}"
        wanted = expected.field(field.name).type
        if not (field.type.equals(wanted) or (_is_text(field.type) and _is_text(wanted))):
            return f"its column {field.name} holds {field.type}; expected {wanted}"
    return None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    # A column of strings that is missing in all rows has the type null.
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _few(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + f" and {len(names) - MAX_NAMES} more" * (len(names) > MAX_NAMES)
