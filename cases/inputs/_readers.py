"""Read the arrays ``logits`` and ``targets`` of a file, a few rows at a time.

A reader opens a path and has the shapes and dtypes of both arrays before it reads them. No reader unpickles: an array
of Python objects raises an error.
"""

import math
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ...core.errors import UsageError

Array = NDArray[Any]
Rows = Iterator[tuple[Array, Array]]
NAMES = ("logits", "targets")
# A whole row is in memory, with about 300 bytes for each logit. A small file may claim any number of them.
MAX_CLASSES = 2**26


class InvalidFileError(ValueError):
    """An invalid file; the message follows the file's name."""


# The errors that libraries raise for a damaged file or another format.
_READ_ERRORS = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    pa.ArrowException,
    SafetensorError,
)


class ArrayReader(Protocol):
    """The two arrays of a file, by name."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    @property
    def dtypes(self) -> Mapping[str, np.dtype[Any]]: ...

    def rows(self, count: int) -> Rows:
        """Logits and targets of at most ``count`` rows at a time, from the first row to the last."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of a file into a UsageError that begins with its path."""
    try:
        yield
    except InvalidFileError as error:
        raise UsageError(f"{path}: {error}") from error
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: cannot be read as {path.suffix} ({reason}); write the file again") from error


def require_suffix(path: Path, suffixes: Collection[str], content: str) -> None:
    """Raise UsageError for a missing file, or one whose name ends in none of the suffixes."""
    expected = f"give a file of {content} that ends in {', '.join(suffixes)}"
    if not path.is_file():
        raise UsageError(f"{path}: no such file; {expected}")
    if path.suffix not in suffixes:
        raise UsageError(f"{path} ends in {path.suffix!r}; {expected}")


def require_arrays(found: Collection[str], *names: str) -> None:
    """Raise InvalidFileError if an array of these names is missing."""
    for name in names:
        if name not in found:
            others = ", ".join(map(repr, found)) or "nothing"
            needs = f", and needs {' and '.join(names)}" if len(names) > 1 else ""
            raise InvalidFileError(f"has no array {name!r}; it has {others}{needs}")


@contextmanager
def npz_members(path: Path, *names: str) -> Iterator[list[IO[bytes]]]:
    """Open arrays of a ``.npz`` archive as ``.npy`` files; raise InvalidFileError if one is missing."""
    with zipfile.ZipFile(path) as archive, ExitStack() as members:
        require_arrays([n.removesuffix(".npy") for n in archive.namelist()], *names)
        yield [members.enter_context(archive.open(f"{name}.npy")) for name in names]


class Npz:
    """An archive written by ``numpy.savez`` or ``numpy.savez_compressed``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with npz_members(path, *NAMES) as members:
            headers = {name: npy_header(name, member) for name, member in zip(NAMES, members, strict=True)}
        self.shapes = {name: shape for name, (shape, _) in headers.items()}
        self.dtypes = {name: dtype for name, (_, dtype) in headers.items()}

    def rows(self, count: int) -> Rows:
        with npz_members(self._path, *NAMES) as members:
            for name, member in zip(NAMES, members, strict=True):
                npy_header(name, member)
            total = self.shapes["logits"][0]
            for start in range(0, total, count):
                rows = min(count, total - start)
                logits, targets = (
                    npy_numbers(name, member, (rows, *self.shapes[name][1:]), self.dtypes[name])
                    for name, member in zip(NAMES, members, strict=True)
                )
                yield logits, targets


def npy_header(name: str, member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and dtype, up to the member's first number."""
    try:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, by_columns, dtype = read(member)
    except (ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InvalidFileError(f"{name} is not a NumPy array ({reason}); write it with numpy.savez") from error
    if dtype.hasobject:
        raise InvalidFileError(f"{name} holds Python objects, which LogitLab never unpickles; expected numbers")
    if by_columns and len(shape) > 1:
        raise InvalidFileError(f"{name} is stored column by column; save numpy.ascontiguousarray({name})")
    # NumPy's format has no name for bfloat16 and writes two bytes without a name.
    return shape, np.dtype(ml_dtypes.bfloat16) if dtype == np.dtype("V2") else dtype


def npy_numbers(name: str, member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Read the next numbers of a member."""
    size = math.prod(shape) * dtype.itemsize
    raw = member.read(size)
    if len(raw) < size:
        raise InvalidFileError(f"{name} ends early, so the file is truncated; write the file again")
    return np.frombuffer(raw, dtype).reshape(shape)


class Parquet:
    """A table with a column ``logits`` of lists of equal length, and one ``targets`` of integers or such lists."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            require_arrays(schema.names, *NAMES)
            _check_widths(file.metadata)
            first = next(file.iter_batches(batch_size=1, columns=list(NAMES)), None)
        self.shapes = {name: _parquet_shape(name, schema.field(name).type, rows, first) for name in NAMES}
        self.dtypes = {name: _parquet_dtype(name, schema.field(name).type) for name in NAMES}

    def rows(self, count: int) -> Rows:
        # Unbuffered ahead: a row group may be as large as the file.
        with pq.ParquetFile(self._path, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=count, columns=list(NAMES)):
                logits, targets = (self._values(name, batch.column(name)) for name in NAMES)
                yield logits, targets

    def _values(self, name: str, column: pa.Array) -> Array:
        width = self.shapes[name][1:]
        if column.null_count:
            raise InvalidFileError(f"{name} has missing rows; expected a value in each")
        values = column
        if width:
            lengths = sorted({*pc.unique(pc.list_value_length(column)).to_pylist(), *width})
            if len(lengths) > 1:
                raise InvalidFileError(
                    f"{name} has rows of {lengths[0]} and of {lengths[-1]} entries; expected one width"
                )
            values = column.flatten()
        if values.null_count:
            raise InvalidFileError(f"{name} has missing entries; expected numbers")
        numbers: Array = values.to_numpy(zero_copy_only=False).reshape(len(column), *width)
        return numbers


def _check_widths(metadata: pq.FileMetaData) -> None:
    """Raise InvalidFileError if rows are too wide to read even the first."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.partition(".")[0] in NAMES:
                check_width(column.num_values // max(group.num_rows, 1))


def check_width(classes: int, which: str = "logits have") -> None:
    """Raise InvalidFileError for rows of more classes than can be measured."""
    if classes > MAX_CLASSES:
        raise InvalidFileError(f"{which} {classes:,} classes; expected at most {MAX_CLASSES:,}")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _parquet_shape(name: str, kind: pa.DataType, rows: int, first: pa.RecordBatch | None) -> tuple[int, ...]:
    if not _is_list(kind):
        return (rows,)
    if pa.types.is_fixed_size_list(kind):
        return (rows, kind.list_size)
    if first is None or first.column(name).null_count:
        return (rows, 0)
    return (rows, len(first.column(name)[0]))


def _parquet_dtype(name: str, kind: pa.DataType) -> np.dtype[Any]:
    element = kind.value_type if _is_list(kind) else kind
    try:
        dtype: np.dtype[Any] = np.dtype(element.to_pandas_dtype())
    except (NotImplementedError, TypeError) as error:
        raise InvalidFileError(f"{name} holds {element}; expected numbers") from error
    return dtype


class Safetensors:
    """A file in the format of the ``safetensors`` package."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(path, framework="numpy") as file:
            require_arrays(file.keys(), *NAMES)
            slices = {name: file.get_slice(name) for name in NAMES}
            self.shapes = {name: tuple(s.get_shape()) for name, s in slices.items()}
            self.dtypes = {name: s[0:0].dtype if s.get_shape() else np.dtype(object) for name, s in slices.items()}

    def rows(self, count: int) -> Rows:
        total = self.shapes["logits"][0]
        for start in range(0, total, count):
            # Opened again each time: the file is mapped, and its pages would stay in memory.
            with safe_open(self._path, framework="numpy") as file:
                logits, targets = (file.get_slice(name)[start : min(start + count, total)] for name in NAMES)
            yield logits, targets


READERS: Mapping[str, Callable[[Path], ArrayReader]] = {".npz": Npz, ".parquet": Parquet, ".safetensors": Safetensors}
