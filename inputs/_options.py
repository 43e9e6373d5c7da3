"""The loss options that files of logits are measured with, and class weights from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open

from ..errors import UsageError
from ..formats import FORMATS
from ..oracle.reference import REDUCTIONS
from ._readers import UNREADABLE, OffenceError, npy_header, npz_member

WEIGHT = "weight"


@dataclass(frozen=True, eq=False)
class FileOptions:
    """The loss options of files, by the names that `cases.Case` has for them. What is not given is the default.

    Attributes:
        reduction: ``none``, ``mean`` or ``sum``, of a whole file.
        label_smoothing: in [0, 1].
        weight: (C,) float64, a factor for each class; None for no weights.
        ignore_index: rows with this target count nothing; None for no such index.
    """

    reduction: str = "none"
    label_smoothing: float = 0.0
    weight: NDArray[np.float64] | None = None
    ignore_index: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that are given, as keywords of `cases.Case`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        unset = {f.name: f.default for f in fields(self)}
        return {k: v for k, v in values.items() if isinstance(v, np.ndarray) or v != unset[k]}

    @property
    def facts(self) -> dict[str, Any]:
        """Those that are given, as a run's manifest keeps them: weights by a digest, since there may be many."""
        return {k: _digest(v) if isinstance(v, np.ndarray) else v for k, v in self.given.items()}


def _digest(weight: NDArray[np.float64]) -> str:
    return f"sha256:{hashlib.sha256(weight.tobytes()).hexdigest()}"


def file_options(
    reduction: str = "none",
    label_smoothing: float = 0.0,
    weight: str | Path | ArrayLike | None = None,
    ignore_index: int | None = None,
) -> FileOptions:
    """The options, checked; ``weight`` is an array (C,) or the path of a file that holds one.

    Raises:
        UsageError: for an option that may not have its value, or a file of weights that cannot be read.
    """
    if reduction not in REDUCTIONS:
        raise UsageError(f"unknown reduction {reduction!r}; the reductions are {', '.join(REDUCTIONS)}")
    if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, int | float | np.number):
        raise UsageError(f"label_smoothing is {label_smoothing!r}; expected a number from 0 to 1")
    if not 0.0 <= label_smoothing <= 1.0:
        raise UsageError(f"label_smoothing is {label_smoothing:g}; expected a number from 0 to 1")
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int | np.integer)):
        raise UsageError(f"ignore_index is {ignore_index!r}; expected a whole number, such as -100")
    index = None if ignore_index is None else int(ignore_index)
    return FileOptions(reduction, float(label_smoothing), None if weight is None else _weight(weight), index)


def _weight(given: str | Path | ArrayLike) -> NDArray[np.float64]:
    if isinstance(given, str | Path):
        return read_weight(given)
    try:
        return _checked(np.asarray(given))
    except (OffenceError, TypeError, ValueError) as error:
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
    except OffenceError as offence:
        raise UsageError(f"{given}: {offence}") from offence
    except UNREADABLE as error:
        words = " ".join(str(error).split())[:200]
        raise UsageError(f"{given}: cannot be read as {given.suffix} ({words})") from error


def _checked(weight: NDArray[Any]) -> NDArray[np.float64]:
    if weight.dtype.name not in FORMATS and weight.dtype.kind not in "iu":
        raise OffenceError(f"{WEIGHT} has dtype {weight.dtype}; expected numbers, one for each class")
    if weight.ndim != 1:
        raise OffenceError(f"{WEIGHT} has shape {weight.shape}; expected (C,), one factor for each class")
    factors = weight.astype(np.float64)
    if not (np.isfinite(factors) & (factors >= 0)).all():
        raise OffenceError(f"{WEIGHT} has a factor that is negative or not finite; expected finite factors from 0 up")
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
        raise OffenceError(f"{WEIGHT} has shape {shape}; expected (C,), one factor for each class")
    wanted = shape[0] * dtype.itemsize
    raw = member.read(wanted)
    if len(raw) < wanted:
        raise OffenceError(f"{WEIGHT} ends early: the file is cut off")
    return np.frombuffer(raw, dtype)


def _from_safetensors(path: Path) -> NDArray[Any]:
    with safe_open(path, framework="numpy") as file:
        if WEIGHT not in file.keys():  # noqa: SIM118 - it is no mapping
            raise OffenceError(f"has no array {WEIGHT!r}; it has {', '.join(map(repr, file.keys())) or 'nothing'}")
        found: NDArray[Any] = file.get_tensor(WEIGHT)
        return found


_READ: Mapping[str, Callable[[Path], NDArray[Any]]] = {
    ".npy": _from_npy,
    ".npz": _from_npz,
    ".safetensors": _from_safetensors,
}
