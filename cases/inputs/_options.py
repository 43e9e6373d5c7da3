"""The loss options that files of logits are measured with, and class weights from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open

from ...core.errors import UsageError
from ...core.formats import FORMATS
from ...core.options import REDUCTIONS, LossOptions, check_option
from ._readers import UNREADABLE, InvalidFileError, npy_header, npz_member

WEIGHT = "weight"


@dataclass(frozen=True, eq=False, kw_only=True)
class FileOptions(LossOptions):
    """The loss options of files, and the ``reduction`` of a whole file: ``none``, ``mean`` or ``sum``."""

    reduction: str = "none"

    @property
    def keywords(self) -> dict[str, Any]:
        """What is given, as keywords of `cases.Case`."""
        return self.given | ({} if self.reduction == "none" else {"reduction": self.reduction})

    @property
    def facts(self) -> dict[str, Any]:
        """What is given, as a run's manifest keeps it: weights by a digest, since there may be many."""
        return {k: _digest(v) if isinstance(v, np.ndarray) else v for k, v in self.keywords.items()}


def _digest(weight: NDArray[np.float64]) -> str:
    return f"sha256:{hashlib.sha256(weight.tobytes()).hexdigest()}"


def file_options(
    reduction: str = "none", weight: str | Path | ArrayLike | None = None, **options: float | None
) -> FileOptions:
    """The options, checked; ``weight`` is an array (C,) or the path of a file that holds one.

    ``options`` are the others that `LossOptions` has.

    Raises:
        UsageError: for an option that may not have its value, or a file of weights that cannot be read.
    """
    if reduction not in REDUCTIONS:
        raise UsageError(f"unknown reduction {reduction!r}; the reductions are {', '.join(REDUCTIONS)}")
    for name, value in options.items():
        if value is not None:
            check_option(name, value)
    given: dict[str, Any] = dict(options)
    if weight is not None:
        given["weight"] = _weight(weight)
    return FileOptions(reduction=reduction, **given)


def _weight(given: str | Path | ArrayLike) -> NDArray[np.float64]:
    if isinstance(given, str | Path):
        return read_weight(given)
    try:
        return _checked(np.asarray(given))
    except (InvalidFileError, TypeError, ValueError) as error:
        raise UsageError(f"weight: {' '.join(str(error).split())}") from error


def read_weight(path: str | Path) -> NDArray[np.float64]:
    """Class weights (C,) from a ``.npy`` file, or the array ``weight`` of a ``.npz`` or ``.safetensors`` file.

    Raises:
        UsageError: for a file that is not there, cannot be read, or holds no class weights.
    """
    given = Path(path)
    if not given.is_file():
        raise UsageError(f"{given}: no such file of class weights")
    if given.suffix not in _READ:
        raise UsageError(f"{given}: files of class weights end in {', '.join(_READ)}, and this one does not")
    try:
        return _checked(_READ[given.suffix](given))
    except InvalidFileError as defect:
        raise UsageError(f"{given}: {defect}") from defect
    except UNREADABLE as error:
        words = " ".join(str(error).split())[:200]
        raise UsageError(f"{given}: cannot be read as {given.suffix} ({words})") from error


def _checked(weight: NDArray[Any]) -> NDArray[np.float64]:
    if weight.dtype.name not in FORMATS and weight.dtype.kind not in "iu":
        raise InvalidFileError(f"{WEIGHT} has dtype {weight.dtype}; expected numbers, one for each class")
    if weight.ndim != 1:
        raise InvalidFileError(f"{WEIGHT} has shape {weight.shape}; expected (C,), one factor for each class")
    factors = weight.astype(np.float64)
    if not (np.isfinite(factors) & (factors >= 0)).all():
        raise InvalidFileError(
            f"{WEIGHT} has a factor that is negative or not finite; expected finite factors from 0 up"
        )
    factors.flags.writeable = False
    return factors


def _from_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return _array(file)


def _from_npz(path: Path) -> NDArray[Any]:
    with npz_member(path, WEIGHT) as member:
        return _array(member)


def _array(member: IO[bytes]) -> NDArray[Any]:
    shape, dtype = npy_header(WEIGHT, member)
    if len(shape) != 1:
        raise InvalidFileError(f"{WEIGHT} has shape {shape}; expected (C,), one factor for each class")
    wanted = shape[0] * dtype.itemsize
    raw = member.read(wanted)
    if len(raw) < wanted:
        raise InvalidFileError(f"{WEIGHT} ends early: the file is cut off")
    return np.frombuffer(raw, dtype)


def _from_safetensors(path: Path) -> NDArray[Any]:
    with safe_open(path, framework="numpy") as file:
        if WEIGHT not in file.keys():  # noqa: SIM118 - it is no mapping
            raise InvalidFileError(f"has no array {WEIGHT!r}; it has {', '.join(map(repr, file.keys())) or 'nothing'}")
        found: NDArray[Any] = file.get_tensor(WEIGHT)
        return found


_READ: Mapping[str, Callable[[Path], NDArray[Any]]] = {
    ".npy": _from_npy,
    ".npz": _from_npz,
    ".safetensors": _from_safetensors,
}
