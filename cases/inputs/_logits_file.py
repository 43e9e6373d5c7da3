"""Read logits from a file: check the whole file before measuring, then yield it piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.facts import InputFile
from ...core.formats import FORMATS, Format
from .. import Case, why_unrepresentable
from ._blocks import Blocks
from ._options import FileOptions
from ._readers import READERS, ArrayReader, InvalidFileError, check_width, reading, require_suffix

Array = NDArray[Any]

FAMILY = "file"
NO_OPTIONS = FileOptions()
# The most logits of a piece. Its exact answer and grading hold about 300 bytes for each.
PIECE = 2**20
# The most logits of a file with a reduced loss. It is one piece, about 1.2 GiB, since parts have no mean.
MAX_REDUCED = 2**22
# The most rows of a piece. The table holds some kilobytes for each while a piece is measured.
PIECE_ROWS = 2**14


@dataclass(frozen=True)
class LogitsFile:
    """A checked file of logits (B, C) and targets (B,) or (B, C).

    Attributes:
        path: the given path.
        rows, classes: B and C.
        dtype: the name of the logits' dtype.
        largest: the largest finite magnitude of a logit.
        special: infinity and NaN, if a logit is one.
        soft: whether the targets are class probabilities.
        digest: a digest of its numbers.
        largest_probability: the largest target probability, if the targets are class probabilities.
        options: the loss options of the measurement.
        blocks: the blocks that hold the logits, or None.
    """

    path: Path
    rows: int
    classes: int
    dtype: str
    largest: float
    soft: bool
    digest: str
    largest_probability: float = 0.0
    options: FileOptions = NO_OPTIONS
    blocks: Blocks | None = None
    special: tuple[float, ...] = ()

    @classmethod
    def open(cls, path: str | Path, options: FileOptions = NO_OPTIONS, blocks: Blocks | None = None) -> LogitsFile:
        """Read the file once and check every number.

        Raises:
            UsageError: for a missing or unreadable file, wrong shapes, dtypes or targets, or options that do not fit.
        """
        path = Path(path)
        require_suffix(path, READERS, "logits")
        with reading(path):
            reader = READERS[path.suffix](path)
            rows, classes = _checked_shapes(reader)
            soft = len(reader.shapes["targets"]) == 2
            _check_options(options, rows, classes, soft=soft)
            extremes, of_probabilities, digest = _scan(reader, classes, options.ignore_index)
        dtype = reader.dtypes["logits"].name
        largest, *special = extremes
        return cls(
            path, rows, classes, dtype, largest, soft, digest, of_probabilities, options, blocks, tuple(special)
        )  # fmt: skip

    @property
    def name(self) -> str:
        return self.path.stem if self.blocks is None else self.blocks.name_of(self.path.stem)

    @property
    def id(self) -> str:
        return f"{FAMILY}/{self.name}"

    @property
    def facts(self) -> InputFile:
        """The file's entry in a run's manifest."""
        facts: InputFile = {
            "case": self.id,
            "path": str(self.path),
            "rows": self.rows,
            "classes": self.classes,
            "dtype": self.dtype,
            "digest": self.digest,
        }
        return {**facts, "options": self.options.facts} if self.options.keywords else facts

    @property
    def plain(self) -> bool:
        """Whether it has only logits and class indices, without loss options."""
        return not self.soft and not self.options.keywords

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that can hold the file: see `why_unrepresentable`."""
        return tuple(name for name, fmt in FORMATS.items() if self.why_unrepresentable(fmt) is None)

    def why_unrepresentable(self, fmt: Format) -> str | None:
        """Return the reason why the dtype cannot hold the file and its options; None if it can."""
        logits = np.array([[self.largest, *self.special]])
        if self.blocks is not None:
            if (why := self.blocks.why_not(logits)) is not None:
                return why
            logits = self.blocks.held(logits)  # rounding keeps the order, so this is the largest of the file
        numbers = why_unrepresentable(fmt, logit=logits, target_probability=self.largest_probability)
        return numbers or self.options.why_options_unrepresentable(fmt)

    @property
    def piece_rows(self) -> int:
        """The number of rows read at once: all of a file with a reduced loss."""
        return _piece_rows(self.classes) if self.options.reduction == "none" else self.rows

    def pieces(self) -> Iterator[Case]:
        """Yield the file's rows in cases of at most `piece_rows`, all named after the file."""
        first_row = 0
        with reading(self.path):
            for logits, targets in READERS[self.path.suffix](self.path).rows(self.piece_rows):
                exact = logits.astype(np.float64)
                yield Case(
                    FAMILY,
                    self.name,
                    f"Logits from {self.path.name}{'' if self.blocks is None else f' in {self.blocks.name} blocks'}.",
                    exact if self.blocks is None else self.blocks.held(exact),
                    targets.astype(np.float64 if self.soft else np.int64),
                    tags=("file",),
                    first_row=first_row,
                    **self.options.keywords,
                )
                first_row += len(logits)


def _piece_rows(classes: int) -> int:
    return max(1, min(PIECE_ROWS, PIECE // classes))


def _checked_shapes(reader: ArrayReader) -> tuple[int, int]:
    logits, targets = reader.shapes["logits"], reader.shapes["targets"]
    kind, of_targets = reader.dtypes["logits"], reader.dtypes["targets"]
    if kind.name not in FORMATS:
        raise InvalidFileError(f"logits have dtype {kind}; expected one of {', '.join(FORMATS)}")
    if len(logits) != 2 or 0 in logits:
        raise InvalidFileError(f"logits have shape {logits}; expected (B, C) with at least one row and one class")
    check_width(logits[1])
    if targets not in (logits[:1], logits):
        raise InvalidFileError(f"targets have shape {targets}; expected {logits[:1]} or {logits}, as the logits have")
    soft = len(targets) == 2
    if soft and of_targets.name not in FORMATS:
        raise InvalidFileError(f"targets (B, C) have dtype {of_targets}; expected probabilities, {', '.join(FORMATS)}")
    if not soft and of_targets.kind not in "iu":
        raise InvalidFileError(f"targets (B,) have dtype {of_targets}; expected integers, the classes' indices")
    return logits[0], logits[1]


def _check_options(options: FileOptions, rows: int, classes: int, *, soft: bool) -> None:
    if options.weight is not None and options.weight.shape != (classes,):
        raise InvalidFileError(f"weight has {len(options.weight)} factors; expected {classes}, one for each class")
    if options.ignore_index is not None and soft:
        raise InvalidFileError(
            "targets (B, C) are probabilities, and --ignore-index is for class indices; leave it out"
        )
    if options.reduction != "none" and rows * classes > MAX_REDUCED:
        raise InvalidFileError(
            f"its {rows} rows of {classes} classes are too many for --reduction {options.reduction}, which takes all "
            f"at once: measure row losses, without --reduction, or give at most {max(1, MAX_REDUCED // classes)} rows"
        )


def _scan(reader: ArrayReader, classes: int, ignore_index: int | None) -> tuple[tuple[float, ...], float, str]:
    """Return the extremes, the largest target probability and a digest of all numbers.

    The extremes are the largest finite magnitude, then infinity and NaN if a logit is one.

    Raises:
        InvalidFileError: for an invalid target.
    """
    digests = hashlib.sha256(), hashlib.sha256()
    largest, of_probabilities, first_row = 0.0, 0.0, 0
    special: dict[float, bool] = {np.inf: False, np.nan: False}
    for logits, targets in reader.rows(_piece_rows(classes)):
        _check_targets(targets, classes, first_row, ignore_index)
        if targets.ndim == 2:
            of_probabilities = max(of_probabilities, float(targets.max()))
        magnitudes = np.abs(logits).astype(np.float64)
        finite = np.isfinite(magnitudes)
        largest = max(largest, float(magnitudes.max(where=finite, initial=0.0)))
        if not finite.all():
            special[np.inf] |= bool(np.isinf(magnitudes).any())
            special[np.nan] |= bool(np.isnan(magnitudes).any())
        for digest, array in zip(digests, (logits, targets), strict=True):
            digest.update(array.tobytes())
        first_row += len(logits)
    header = f"{reader.shapes}{reader.dtypes}".encode()
    extremes = (largest, *(value for value, found in special.items() if found))
    return extremes, of_probabilities, hashlib.sha256(header + digests[0].digest() + digests[1].digest()).hexdigest()


def _check_targets(targets: Array, classes: int, first_row: int, ignore_index: int | None) -> None:
    if targets.ndim == 2:
        wrong = ~(np.isfinite(targets.astype(np.float64)) & (targets >= 0))
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise InvalidFileError(
                f"target probability {targets[row, column]} in row {first_row + row}, class {column}; "
                "expected finite numbers that are not negative"
            )
        return
    counted = np.ones(len(targets), bool) if ignore_index is None else targets != ignore_index
    outside = np.flatnonzero(counted & ((targets < 0) | (targets >= classes)))
    if outside.size:
        row = int(outside[0])
        message = f"target {targets[row]} in row {first_row + row} is not a class; with {classes} classes, expected "
        message += f"0 to {classes - 1}"
        if ignore_index is None:
            raise InvalidFileError(f"{message}; to ignore such rows, give --ignore-index {targets[row]}")
        raise InvalidFileError(f"{message}, or {ignore_index}, which is ignored")
