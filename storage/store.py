"""Run folders: a manifest and Parquet parts.

::

    RUN/manifest.json       versions, hardware, flags, environment, the catalogue's hash, the plan
    RUN/parts/00017.parquet one cell's measurements of one block of cases, written atomically
    RUN/parts.sha256        the checksum of each part, which `sha256sum -c` can verify
    RUN/programs/00017.parquet  programs without LogitLab that show failing results of the part of that number
    RUN/bitwise/00017.parquet the bitwise invariance of the cell of that number, if the run compares bits
    RUN/cases.parquet       the cases for the pages of a report; of large cases, some rows and classes
    RUN/logs/torch.log      the output of the framework
    RUN/lock                during the run: the process that writes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..core import files
from ..core.errors import UsageError
from . import lock
from ._parts import BESIDE, BITWISE_FOLDER, FOLDER, PROGRAMS_FOLDER, Parts, numbered
from .manifest import MANIFEST, Manifest, read_manifest, write_manifest
from .schema import BITWISE, CASES, COLUMNS, PROGRAMS, WORDS, BitwiseLine, ProgramLine, typed

CASES_FILE, LOGS = "cases.parquet", "logs"
SMALLEST = 19  # zstd's level of highest compression, a hundred times as slow as the default


def require_new(folder: Path, *, resumable: bool = False) -> None:
    """Raise a UsageError if the folder holds a run or parts of one; ``resumable`` adds how to resume it."""
    also = "resume it with --resume, " * resumable
    files.refuse_existing(folder / MANIFEST, "folder", f"{folder} already holds a run", also)
    if numbered(folder):
        raise UsageError(f"{folder} holds parts of a run without its {MANIFEST}; choose another folder")


def is_resumable(folder: Path) -> bool:
    """Return whether the folder holds a run that can be resumed; not if the run stopped before it wrote a manifest.

    Raises:
        UsageError: for a folder that does not exist, or that holds other files.
    """
    if (folder / MANIFEST).exists():
        return True
    left = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    if left <= {FOLDER, f".{MANIFEST}{files.TEMPORARY}", lock.FILE} and not numbered(folder):
        return False
    raise UsageError(f"{folder} is not a run: it has no {MANIFEST}; to start a run there, leave out --resume")


class Run:
    """A run folder for reading; `Run.create` and `Run.reopen` return one for writing.

    A run for writing is locked until `close`, or the end of a ``with`` block.

    Args:
        folder: an existing run.
        held: its lock, for a run that is written to.

    Raises:
        UsageError: if the folder is not a run, or is from a newer LogitLab.
    """

    def __init__(self, folder: Path, held: lock.Lock | None = None) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.set_aside: tuple[str, ...] = ()
        self._parts = Parts(folder)
        self._lock = held

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> Run:
        """Create a run folder with its manifest.

        Raises:
            UsageError: if the folder holds a run, another run writes to it, or it cannot be written.
        """
        require_new(folder)
        with files.explain_os_errors(folder, "choose another folder"):
            folder.mkdir(parents=True, exist_ok=True)
            held = lock.Lock(folder)
            try:
                require_new(folder)  # another run may have written it before this one got the lock
                files.subfolder(folder, FOLDER)
                write_manifest(folder, manifest)
                return cls(folder, held)
            except BaseException:
                held.release()
                raise

    @classmethod
    def reopen(cls, folder: Path) -> Run:
        """Open a run to resume it. Remove temporary files, and rename damaged parts: see the messages in ``set_aside``.

        Raises:
            UsageError: if the folder is not a run, another run writes to it, or it cannot be written.
        """
        read_manifest(folder)
        with files.explain_os_errors(folder, "copy it to a writable place"):
            held = lock.Lock(folder)
            try:
                files.subfolder(folder, FOLDER)
                run = cls(folder, held)
                # The run is incomplete until it finishes again.
                run.manifest = replace(run.manifest, complete=False)
                write_manifest(folder, run.manifest)
                run.set_aside = run._parts.repair(CASES_FILE)
            except BaseException:
                held.release()
                raise
        return run

    def close(self) -> None:
        """Release the lock of the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def keep_logs(self, logs: Path) -> None:
        """Append the workers' logs to the logs of the run."""
        with self._writing():
            folder = files.subfolder(self.folder, LOGS)
            for log in sorted(logs.iterdir()):
                target = folder / log.name
                before = target.read_bytes() if target.is_file() and not target.is_symlink() else b""
                files.write(target, before + log.read_bytes())

    def keep_cases(self, lines: Sequence[Mapping[str, object]]) -> None:
        """Write the run's cases, in lines of `CASES`."""
        with self._writing():
            self._parts.keep(self._cases, _parquet(pa.Table.from_pylist(list(lines), schema=CASES)))

    def cases(self) -> pd.DataFrame:
        """Return the run's cases, a line of `CASES` for each shown row; no lines if the run has no file of cases.

        Raises:
            UsageError: for a file that cannot be read.
        """
        try:
            table = pq.read_table(self._cases).cast(CASES) if self._cases.exists() else CASES.empty_table()
            lines: pd.DataFrame = table.to_pandas()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UsageError(f"{self._cases} is damaged ({error}); see `logitlab doctor {self.folder}`") from error
        return lines

    @property
    def _cases(self) -> Path:
        return self.folder / CASES_FILE

    def part(self, index: int) -> Path:
        return self._parts.path(index)

    def has(self, index: int) -> bool:
        """Return whether this part exists and is undamaged."""
        return self._parts.has(index)

    def was_written(self, index: int) -> bool:
        """Return whether this part was written, that is, has a checksum. The part itself is not read."""
        return self._parts.name(self.part(index)) in self._parts.checksums.known

    def write(
        self, index: int, table: pd.DataFrame, programs: Sequence[ProgramLine] = (), level: int | None = None
    ) -> None:
        """Write one cell's measurements of one block atomically, and before them its programs.

        Args:
            index: the number of the part.
            table: the measurements.
            programs: programs that show its failing results.
            level: zstd's level of compression.

        Raises:
            UsageError: if the part cannot be written. Earlier parts are unchanged.
        """
        self.write_encoded(index, encoded(table, level), encoded_programs(programs, level))

    def write_encoded(self, index: int, data: bytes, programs: bytes | None = None) -> None:
        """Write a part from the bytes that `encoded` and `encoded_programs` returned."""
        with self._writing():
            if programs is not None:
                files.subfolder(self.folder, PROGRAMS_FOLDER)
                self._parts.keep(self._parts.beside(PROGRAMS_FOLDER, index), programs)
            self._parts.keep(self.part(index), data)

    def programs(self) -> pd.DataFrame:
        """Return the programs that the run keeps, in the columns of `ProgramLine`, in the order of its parts.

        Raises:
            UsageError: for a file that cannot be read.
        """
        return self._parts.read_beside(PROGRAMS_FOLDER, PROGRAMS)

    def write_bitwise(self, index: int, lines: Sequence[BitwiseLine]) -> None:
        """Write the bitwise invariance of the cell of this number."""
        with self._writing():
            files.subfolder(self.folder, BITWISE_FOLDER)
            table = pa.Table.from_pylist([line._asdict() for line in lines], schema=BITWISE)
            self._parts.keep(self._parts.beside(BITWISE_FOLDER, index), _parquet(table))

    def has_bitwise(self, index: int) -> bool:
        """Return whether the run has the bitwise invariance of the cell of this number, undamaged."""
        return self._parts.is_whole(self._parts.beside(BITWISE_FOLDER, index))

    def bitwise(self) -> pd.DataFrame:
        """Return the bitwise invariance that the run has measured, in the columns of `BitwiseLine`.

        Raises:
            UsageError: for a file that cannot be read.
        """
        return self._parts.read_beside(BITWISE_FOLDER, BITWISE)

    def finish(self, finished: str = "") -> None:
        """Mark the run as complete, at the time ``finished``."""
        self.manifest = replace(self.manifest, complete=True, finished=finished or self.manifest.finished)
        beside = (path for of in BESIDE for path in numbered(self.folder, of))
        written = (*self.parts(), *beside, self._cases)
        named = {self._parts.name(path) for path in written if path.exists()}
        checksums = self._parts.checksums
        known = {name: digest for name, digest in checksums.known.items() if name in named}
        with self._writing():
            # The manifest last: its checksum counts only after it says that the run is complete.
            checksums.rewrite(known | {MANIFEST: files.digest(self.manifest.encoded())})
            write_manifest(self.folder, self.manifest)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        kept = "resume the run with --resume: its measurements so far are kept"
        try:
            with files.explain_os_errors(self.folder, kept):
                yield
        except UsageError:
            if not (self.folder / MANIFEST).exists():
                raise UsageError(f"{self.folder} was removed during the run; start the run again") from None
            raise

    def pack(self, folder: Path) -> Run:
        """Copy a complete run into one part with the highest compression, small enough to commit.

        Raises:
            UsageError: if the run is incomplete, or the folder holds a run or cannot be written.
        """
        if not self.manifest.complete:
            raise UsageError(f"{self.folder} is incomplete; to see how to resume, run `logitlab doctor {self.folder}`")
        table, programs = self.read(), [ProgramLine(*line) for line in self.programs().itertuples(index=False)]
        bits = [BitwiseLine(*line) for line in self.bitwise().itertuples(index=False)]
        with Run.create(folder, replace(self.manifest, packed=True)) as packed:
            packed.write(0, table, programs, level=SMALLEST)
            if bits:
                packed.write_bitwise(0, bits)
            with packed._writing():
                if self._cases.exists():
                    packed._parts.keep(packed._cases, self._cases.read_bytes())
            packed.finish()
        return packed

    def parts(self) -> list[Path]:
        """Return the existing parts that the run wrote, in the order of the plan."""
        return self._parts.listed()

    def lines(self) -> int:
        """Return the number of measurements, without reading them."""
        return sum(int(pq.read_metadata(path).num_rows) for path in self.parts())

    def has_result(self) -> bool:
        """Return whether any measurement has the status ``ok``. Parts are read until one has."""
        statuses = (pq.read_table(path, columns=["status"])["status"] for path in self.parts())
        return any("ok" in column.unique().to_pylist() for column in statuses)

    def read(self) -> pd.DataFrame:
        """Return the measurements so far, in the order of the plan.

        Raises:
            UsageError: for a damaged part.
        """
        tables = [self._read_part(path) for path in self.parts()]
        if not tables:
            return typed(pd.DataFrame(columns=list(COLUMNS)))
        whole: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        return typed(whole)

    def whole_parts(self) -> tuple[list[Path], list[str]]:
        """Return the undamaged parts, and a message for each damaged or missing part."""
        defects = {path: self._parts.defect(path) for path in self.parts()}
        if self.manifest.complete:
            defects |= dict.fromkeys(self._parts.lost(), "it is missing")
        damage = [self._damage(path, defect) for path, defect in defects.items() if defect is not None]
        return [path for path, defect in defects.items() if defect is None], damage

    def _read_part(self, path: Path) -> pa.Table:
        try:
            defect = self._parts.defect(path)
            table = None if defect else pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            table, defect = None, str(error)
        if table is None:
            raise UsageError(self._damage(path, defect))
        # Each part has its own categories; as strings the parts can be joined.
        fields = [pa.field(f.name, pa.string() if f.name in WORDS else f.type) for f in table.schema]
        return table.cast(pa.schema(fields))

    def _damage(self, path: Path, defect: str | None) -> str:
        fix = "pack the run again" if self.manifest.packed else "to measure it again, resume the run with --resume"
        return f"{path} is damaged ({defect}); {fix}"


def encoded(table: pd.DataFrame, level: int | None = None) -> bytes:
    """Return the bytes of a part: one cell's measurements of one block; ``level`` is zstd's level of compression."""
    return _parquet(pa.Table.from_pandas(typed(table), preserve_index=False), level)


def encoded_programs(programs: Sequence[ProgramLine], level: int | None = None) -> bytes | None:
    """Return the bytes of the file with a part's programs; None if there are none."""
    table = pa.Table.from_pylist([line._asdict() for line in programs], schema=PROGRAMS)
    return _parquet(table, level) if programs else None


def _parquet(table: pa.Table, level: int | None = None) -> bytes:
    # Encode in memory: the file system's own errors are clearer than Parquet's.
    written = BytesIO()
    pq.write_table(table, written, compression="zstd", compression_level=level)
    return written.getvalue()
