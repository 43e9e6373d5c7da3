"""Cache references on disk, by the content of their inputs.

The folder is ``references`` below ``$LOGITLAB_CACHE`` (if empty, the cache is off) or below the user's cache folder. A
file is a NumPy archive. Arrays with an entry for each logit are compressed by zstd. The gradient is stored as the bits
that differ from the probabilities, most of which are 0. This saves eleven twelfths of the size.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from ..core import cache_limit, files
from ..core.cache_folder import CacheKind, cache_folder
from ._answer import Exact, Reference
from .transform import Transform

# Increased whenever the same inputs would give other arrays, or the file format changes, so that old files are ignored.
SCHEMA = 4
ARRAYS = ("condition", "defined", "mass", "scale", "sole_target")
# The errors that zipfile, NumPy and Arrow raise for a damaged file.
_DAMAGED = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
_CODEC = "zstd"  # read four times as fast as zlib; the archive's checksums are over the compressed bytes


def folder() -> Path | None:
    """Return the cache folder, or None if the cache is off."""
    return cache_folder(CacheKind.REFERENCES)


def key(parts: Mapping[str, ArrayLike]) -> str:
    """Return a digest of the names, dtypes, shapes and bytes of arrays and scalars."""
    digest = hashlib.sha256(f"logitlab reference {SCHEMA}".encode())
    for name, part in sorted(parts.items()):
        array = np.ascontiguousarray(part)
        digest.update(f"|{name}:{array.dtype.str}:{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def load(name: str, transform: Transform) -> Reference | None:
    """Return the cached reference of a digest; None if there is none or its file is damaged."""
    root = folder()
    if root is None:
        return None
    path = root / name[:2] / f"{name}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            loss, shape = Exact(*kept["loss"]), tuple(int(n) for n in kept["shape"])
            probabilities = _unpacked(kept["probabilities"], (2, *shape)).copy()
            gradient = _unpacked(kept["gradient"], (2, *shape)) ^ probabilities
            inner = _floats(_unpacked(kept["inner"], shape)).copy() if "inner" in kept.files else None
            condition, defined, mass, scale, sole_target = (kept[part] for part in ARRAYS)
            found = Reference(
                loss, Exact(*_floats(probabilities)), Exact(*_floats(gradient)), condition, defined, mass, scale,
                sole_target, transform, inner,
            )  # fmt: skip
    except _DAMAGED:
        return None
    cache_limit.touch(path)
    return found


def load_values(name: str, names: Iterable[str]) -> dict[str, Exact] | None:
    """Return exact values that were saved with the reference of a digest, by name; None as in `load`."""
    root = folder()
    if root is None:
        return None
    try:
        with (root / name[:2] / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as kept:
            shapes = {part: tuple(int(n) for n in kept[f"{part}.shape"]) for part in names}
            return {part: Exact(*_floats(_unpacked(kept[part], (2, *shape))).copy()) for part, shape in shapes.items()}
    except _DAMAGED:
        return None


def save(name: str, reference: Reference, values: Mapping[str, Exact] | None = None) -> None:
    """Write a reference in one step, so that a reader never sees half a file; and other exact values by name.

    A folder that cannot be written is ignored.
    """
    root = folder()
    if root is None:
        return
    probabilities, gradient = _bits(reference.probabilities), _bits(reference.gradient)
    arrays = {part: np.asarray(getattr(reference, part)) for part in ARRAYS}
    arrays |= {"loss": np.stack([reference.loss.hi, reference.loss.lo]), "shape": np.array(probabilities.shape[1:])}
    arrays |= {"probabilities": _packed(probabilities), "gradient": _packed(gradient ^ probabilities)}
    arrays |= {} if reference.inner is None else {"inner": _packed(reference.inner)}
    for part, exact in (values or {}).items():
        arrays |= {part: _packed(_bits(exact)), f"{part}.shape": np.array(exact.hi.shape, np.int64)}
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **arrays)
    data = archive.getvalue()
    path = root / name[:2] / f"{name}.npz"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, data, in_cache=True)
    except OSError:
        return
    cache_limit.trim_if_due(written=len(data))


def _bits(exact: Exact) -> NDArray[np.uint64]:
    return np.stack([exact.hi, exact.lo]).view(np.uint64)


def _floats(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    return bits.view(np.float64)


def _packed(array: NDArray[Any]) -> NDArray[np.uint8]:
    compressed = pa.Codec(_CODEC).compress(np.ascontiguousarray(array).tobytes(), asbytes=True)
    return np.frombuffer(compressed, np.uint8)


def _unpacked(packed: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """Return the bits of float64 numbers of a shape, read-only; raise ValueError for another size."""
    raw = pa.Codec(_CODEC).decompress(packed.tobytes(), 8 * int(np.prod(shape)))
    return np.frombuffer(raw, np.uint64).reshape(shape)
