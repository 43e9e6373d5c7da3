"""The loss options of files of logits, and class weights from a file."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open

from ...core.errors import UsageError
from ...core.formats import FORMATS
from ...core.options import REDUCTIONS, LossOptions, OptionValues, check_option
from ._readers import (
    InvalidFileError,
    check_width,
    npy_header,
    npy_numbers,
    npz_members,
    reading,
    require_arrays,
    require_suffix,
)

Array = NDArray[Any]
WEIGHT = "weight"


class FileOptionValues(OptionValues, total=False):
    """The options of files that are set, as keywords of `cases.Case`."""

    reduction: str


@dataclass(frozen=True, eq=False, kw_only=True)
class FileOptions(LossOptions):
    """The loss options of files, and the ``reduction`` of a whole file: ``none``, ``mean`` or ``sum``."""

    reduction: str = "none"

    @property
    def keywords(self) -> FileOptionValues:
        """The options that are set, as keywords of `cases.Case`."""
        reduction: FileOptionValues = {} if self.reduction == "none" else {"reduction": self.reduction}
        return {**self.set_options, **reduction}

    @property
    def facts(self) -> dict[str, str | float]:
        """The options that are set, as a run's manifest keeps them: weights as a digest, since there may be many."""
        facts = cast(dict[str, str | float], dict(self.keywords))
        if self.weight is not None:
            facts[WEIGHT] = f"sha256:{hashlib.sha256(self.weight.tobytes()).hexdigest()}"
        return facts


def file_options(
    reduction: str = "none", weight: str | Path | ArrayLike | None = None, **numbers: float | None
) -> FileOptions:
    """Check the options of files of logits.

    Args:
        reduction: ``none``, ``mean`` or ``sum``.
        weight: an array (C,), or the path of a file that holds one.
        numbers: the other options of `LossOptions`, by name.

    Raises:
        UsageError: for a value out of range, or an unreadable file of weights.
    """
    if reduction not in REDUCTIONS:
        raise UsageError(f"unknown reduction {reduction!r}; choose one of {', '.join(REDUCTIONS)}")
    for name, value in numbers.items():
        if value is not None:
            check_option(name, value)
    options = cast(OptionValues, numbers)
    if weight is not None:
        options["weight"] = _weight(weight)
    return FileOptions(reduction=reduction, **options)


def _weight(weight: str | Path | ArrayLike) -> NDArray[np.float64]:
    """Return class weights (C,) of an array, a ``.npy`` file, or ``weight`` of a ``.npz`` or ``.safetensors`` file."""
    if not isinstance(weight, str | Path):
        try:
            return _checked(np.asarray(weight))
        except (InvalidFileError, TypeError, ValueError) as error:
            raise UsageError(f"weight: {' '.join(str(error).split())}") from error
    path = Path(weight)
    require_suffix(path, _READ, "class weights")
    with reading(path):
        return _checked(_READ[path.suffix](path))


def _checked(weight: Array) -> NDArray[np.float64]:
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


def _from_npy(path: Path) -> Array:
    with path.open("rb") as file:
        return _array(file)


def _from_npz(path: Path) -> Array:
    with npz_members(path, WEIGHT) as (member,):
        return _array(member)


def _array(member: IO[bytes]) -> Array:
    shape, dtype = npy_header(WEIGHT, member)
    if len(shape) != 1:
        raise InvalidFileError(f"{WEIGHT} has shape {shape}; expected (C,), one factor for each class")
    check_width(shape[0], f"{WEIGHT} has")
    return npy_numbers(WEIGHT, member, shape, dtype)


def _from_safetensors(path: Path) -> Array:
    with safe_open(path, framework="numpy") as file:
        require_arrays(file.keys(), WEIGHT)
        weight: Array = file.get_tensor(WEIGHT)
        return weight


_READ: Mapping[str, Callable[[Path], Array]] = {".npy": _from_npy, ".npz": _from_npz, ".safetensors": _from_safetensors}
