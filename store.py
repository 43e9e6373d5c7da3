"""Where results are kept: a run is a folder with a manifest and Parquet parts.

::

    RUN/manifest.json       versions, hardware, flags, environment, the catalogue's hash, the plan
    RUN/parts/00017.parquet one cell's measurements of one block of cases, written in one step when they are all there
    RUN/cases.parquet       the cases, those of many rows or classes abridged: what a page about a case shows
    RUN/logs/torch.log      what the framework printed
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import UsageError

SCHEMA = 1
SMALLEST = 19  # zstd's level, at a hundredth of the speed

# The measurements table: one row per case row, cell and quantity.
WORDS = (
    "run", "case", "family", "framework", "implementation", "formula", "dtype", "device", "mode", "version",
    "quantity", "out_dtype", "status", "grade", "verdict", "first_failure",
)  # fmt: skip
COLUMNS: dict[str, str] = {
    "run": "category", "case": "category", "family": "category", "row": "int32", "classes": "int32",
    "framework": "category", "implementation": "category", "formula": "category", "dtype": "category",
    "device": "category", "mode": "category", "version": "category",
    "quantity": "category", "out_dtype": "category", "status": "category", "grade": "category", "verdict": "category",
    "first_failure": "category",
    "finite": "boolean", "expected_finite": "boolean",
    "n_nan": "Int32", "n_posinf": "Int32", "n_neginf": "Int32", "n_zeroed": "Int32",
    "value": "float64", "exact": "float64",
    "max_abs": "float64", "max_rel": "float64", "max_ulp": "float64", "condition": "float64",
    "stability_ratio": "float64", "bound_unshifted": "float64", "bound_shifted": "float64",
    "bits": "Int64",
    "detail": "string",
}  # fmt: skip

# The cases of a run, one line for each of their rows that is shown. ``rows`` and ``classes`` are the whole case's;
# ``shown`` are classes, ``logits`` their logits and ``probabilities`` their targets, where targets are such.
CASES = pa.schema(
    [
        *((name, pa.string()) for name in ("case", "family", "why", "source", "reported", "tags", "options")),
        *((name, pa.int64()) for name in ("rows", "classes", "row", "target")),
        ("shown", pa.list_(pa.int64())),
        ("logits", pa.list_(pa.float64())),
        ("probabilities", pa.list_(pa.float64())),
    ]
)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns in order and of their types."""
    return table.reindex(columns=list(COLUMNS)).astype(COLUMNS)


def must_be_new(folder: Path) -> None:
    """UsageError if the folder holds a run already."""
    if (folder / "manifest.json").exists():
        raise UsageError(f"{folder} already holds a run; use --resume to go on with it, or another --out")


class Run:
    """A run folder.

    Args:
        folder: an existing run; use `Run.create` for a new one.

    Raises:
        UsageError: if the folder is not a run, or one from a newer LogitLab.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)

    @classmethod
    def create(cls, folder: Path, manifest: dict[str, Any]) -> Run:
        """A new run folder with its manifest; UsageError if the folder holds one already or cannot be written."""
        must_be_new(folder)
        try:
            (folder / "parts").mkdir(parents=True, exist_ok=True)
            _write_manifest(folder, {"schema": SCHEMA, **manifest})
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error
        return cls(folder)

    def keep_logs(self, logs: Path) -> None:
        """Copies what the workers printed into the run."""
        shutil.copytree(logs, self.folder / "logs", dirs_exist_ok=True)

    def keep_cases(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Keeps what the run's cases are, in lines of `CASES`."""
        table = pa.Table.from_pylist(list(lines), schema=CASES)
        _atomically(self._cases, lambda path: pq.write_table(table, path, compression="zstd"))

    def cases(self) -> pd.DataFrame:
        """What the run's cases are, a line of `CASES` for each row shown; without lines if the run does not tell.

        Raises:
            UsageError: for a file that cannot be read.
        """
        if not self._cases.exists():
            return self.no_cases()
        try:
            lines: pd.DataFrame = pq.read_table(self._cases).cast(CASES).to_pandas()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UsageError(f"{self._cases} is damaged ({error})") from error
        return lines

    @staticmethod
    def no_cases() -> pd.DataFrame:
        """`cases` of a run that does not tell."""
        lines: pd.DataFrame = CASES.empty_table().to_pandas()
        return lines

    @property
    def _cases(self) -> Path:
        return self.folder / "cases.parquet"

    def part(self, index: int) -> Path:
        return self.folder / "parts" / f"{index:05d}.parquet"

    def has(self, index: int) -> bool:
        """Whether this part is there, whole."""
        return self.part(index).exists()

    def write(self, index: int, table: pd.DataFrame, level: int | None = None) -> None:
        """Keeps one cell's measurements of one block, in one step; ``level`` is zstd's of compression."""
        arrow = pa.Table.from_pandas(typed(table), preserve_index=False)
        _atomically(
            self.part(index), lambda path: pq.write_table(arrow, path, compression="zstd", compression_level=level)
        )

    def finish(self, **facts: Any) -> None:
        """Marks the run as complete, with what became known while it ran."""
        self.manifest = {**self.manifest, **facts, "complete": True}
        _write_manifest(self.folder, self.manifest)

    def pack(self, folder: Path) -> Run:
        """A copy of a complete run with all measurements in one part, as small as Parquet makes it, to be committed.

        Raises:
            UsageError: if the run is not complete, or the folder holds a run already or cannot be written.
        """
        if not self.manifest["complete"]:
            raise UsageError(f"{self.folder} is not complete; go on with it with --resume, and pack it then")
        packed = Run.create(folder, {**self.manifest, "packed": True})
        packed.write(0, self.read(), level=SMALLEST)
        if self._cases.exists():
            shutil.copyfile(self._cases, packed._cases)
        return packed

    def parts(self) -> list[Path]:
        """The parts that are there, in the order of the plan."""
        return sorted((self.folder / "parts").glob("*.parquet"), key=lambda path: int(path.stem))

    def lines(self) -> int:
        """How many measurements there are, without reading them."""
        return sum(int(pq.read_metadata(path).num_rows) for path in self.parts())

    def read(self) -> pd.DataFrame:
        """The measurements so far, in the order of the plan.

        Raises:
            UsageError: for a part that cannot be read, naming it.
        """
        return _joined([_read_part(path) for path in self.parts()])

    def read_what_is_whole(self) -> tuple[pd.DataFrame, list[str]]:
        """As `read`, without the parts that cannot be read: what is wrong with each of them is told beside."""
        tables, damaged = [], []
        for path in self.parts():
            try:
                tables.append(_read_part(path))
            except UsageError as error:
                damaged.append(str(error))
        return _joined(tables), damaged


def _joined(tables: Sequence[pa.Table]) -> pd.DataFrame:
    if not tables:
        return typed(pd.DataFrame(columns=list(COLUMNS)))
    whole: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    return typed(whole)


def _read_part(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged ({error}); remove it and run again with --resume") from error
    # Each part has its own words; as plain strings they join, and become categories of the whole.
    fields = [pa.field(f.name, pa.string() if f.name in WORDS else f.type) for f in table.schema]
    return table.cast(pa.schema(fields))


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = int(manifest["schema"])
    except FileNotFoundError:
        raise UsageError(f"{folder} is not a run: it has no manifest.json") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} is not a run that can be read: its manifest.json is damaged ({error})") from error
    if schema > SCHEMA:
        raise UsageError(
            f"{folder} was written by a newer LogitLab (schema {schema}, this one knows {SCHEMA}); upgrade"
        )
    return manifest


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    _atomically(folder / "manifest.json", lambda path: Path(path).write_text(text, encoding="utf-8"))


def _atomically(target: Path, write: Callable[[str], object]) -> None:
    """Writes beside the target and moves it there, so that no reader and no crash ever sees half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    os.close(descriptor)
    try:
        write(temporary)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
