"""Logits from a file: checked from end to end before anything is measured, then handed out piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cases import Case
from ..errors import UsageError
from ..formats import FORMATS, representable
from ._readers import READERS, UNREADABLE, OffenceError, Reader, must_not_be_wider

Array = NDArray[Any]

FAMILY = "file"
# Logits at once. The exact answer and the grading of a piece hold some 300 bytes for each of its logits.
PIECE = 2**20
# Rows at once, where they are narrow. The table holds some kilobytes for each row while a piece is measured.
PIECE_ROWS = 2**14


@dataclass(frozen=True)
class LogitsFile:
    """A file of logits (B, C) and targets (B,) or (B, C), whose numbers have been checked.

    Attributes:
        path: as it was given.
        rows, classes: B and C.
        dtype: the logits' own, by name.
        largest: of their finite magnitudes.
        soft: whether the targets are class probabilities.
        digest: of the numbers in it.
    """

    path: Path
    rows: int
    classes: int
    dtype: str
    largest: float
    soft: bool
    digest: str

    @classmethod
    def open(cls, path: str | Path) -> LogitsFile:
        """Reads the file once, to check every number of it.

        Raises:
            UsageError: for a file that is not there, cannot be read, or whose shapes, dtypes or targets are wrong.
        """
        given = Path(path)
        if not given.is_file():
            raise UsageError(f"{given}: no such file")
        if given.suffix not in READERS:
            raise UsageError(f"{given}: files of logits end in {', '.join(READERS)}, and this one does not")
        with _offences_of(given):
            reader = READERS[given.suffix](given)
            rows, classes = _checked_shapes(reader)
            largest, digest = _scan(reader, classes)
        soft = len(reader.shapes["targets"]) == 2
        return cls(given, rows, classes, reader.dtypes["logits"].name, largest, soft, digest)

    @property
    def case_id(self) -> str:
        return f"{FAMILY}/{self.path.stem}"

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that can hold the logits: in the others a finite one would become infinite."""
        return tuple(name for name, fmt in FORMATS.items() if representable(self.largest, fmt))

    @property
    def piece_rows(self) -> int:
        """How many rows are read at once."""
        return _piece_rows(self.classes)

    def pieces(self) -> Iterator[Case]:
        """The file's rows, in cases of at most `piece_rows`, all under the file's own name."""
        first_row = 0
        with _offences_of(self.path):
            for logits, targets in READERS[self.path.suffix](self.path).rows(self.piece_rows):
                yield Case(
                    FAMILY,
                    self.path.stem,
                    f"Logits from {self.path.name}.",
                    logits.astype(np.float64),
                    targets.astype(np.float64 if self.soft else np.int64),
                    tags=("file",),
                    first_row=first_row,
                )
                first_row += len(logits)


def _piece_rows(classes: int) -> int:
    return max(1, min(PIECE_ROWS, PIECE // classes))


@contextmanager
def _offences_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OffenceError as offence:
        raise UsageError(f"{path}: {offence}") from offence
    except UNREADABLE as error:
        words = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: cannot be read as {path.suffix} ({words})") from error


def _checked_shapes(reader: Reader) -> tuple[int, int]:
    logits, targets = reader.shapes["logits"], reader.shapes["targets"]
    kind, of_targets = reader.dtypes["logits"], reader.dtypes["targets"]
    if kind.name not in FORMATS:
        raise OffenceError(f"logits have dtype {kind}; expected one of {', '.join(FORMATS)}")
    if len(logits) != 2 or 0 in logits:
        raise OffenceError(f"logits have shape {logits}; expected (B, C) with at least one row and one class")
    must_not_be_wider(logits[1])
    if targets not in (logits[:1], logits):
        raise OffenceError(f"targets have shape {targets}; expected {logits[:1]} or {logits}, as the logits have")
    soft = len(targets) == 2
    if soft and of_targets.name not in FORMATS:
        raise OffenceError(f"targets (B, C) have dtype {of_targets}; expected probabilities, {', '.join(FORMATS)}")
    if not soft and of_targets.kind not in "iu":
        raise OffenceError(f"targets (B,) have dtype {of_targets}; expected integers, the classes' indices")
    return logits[0], logits[1]


def _scan(reader: Reader, classes: int) -> tuple[float, str]:
    """The largest finite magnitude and a digest of all numbers; OffenceError for a target that is none."""
    digests = hashlib.sha256(), hashlib.sha256()
    largest, first_row = 0.0, 0
    for logits, targets in reader.rows(_piece_rows(classes)):
        _check_targets(targets, classes, first_row)
        magnitudes = np.abs(logits).astype(np.float64)
        largest = max(largest, float(magnitudes.max(where=np.isfinite(magnitudes), initial=0.0)))
        for digest, array in zip(digests, (logits, targets), strict=True):
            digest.update(array.tobytes())
        first_row += len(logits)
    header = f"{reader.shapes}{reader.dtypes}".encode()
    return largest, hashlib.sha256(header + digests[0].digest() + digests[1].digest()).hexdigest()


def _check_targets(targets: Array, classes: int, first_row: int) -> None:
    if targets.ndim == 2:
        wrong = ~(np.isfinite(targets.astype(np.float64)) & (targets >= 0))
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise OffenceError(
                f"target probability {targets[row, column]} in row {first_row + row}, class {column}; "
                "expected finite numbers that are not negative"
            )
        return
    outside = np.flatnonzero((targets < 0) | (targets >= classes))
    if outside.size:
        row = int(outside[0])
        raise OffenceError(
            f"target {targets[row]} in row {first_row + row} is no class; with {classes} classes it must be "
            f"0 to {classes - 1}"
        )
