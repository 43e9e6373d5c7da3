"""References kept on disk under the content of their inputs.

They lie in ``references`` below ``$LOGITLAB_CACHE`` if that is set (empty switches the cache off), else below the
user's cache folder. A file is a NumPy archive. What has an entry for each logit is compressed by zstd in it, with the
gradient as the bits in which it differs from the probabilities, most of which are 0: together a twelfth of the size.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from ..core import cache_limit, files
from ..core.cache_folder import CacheKind, cache_folder
from ._answer import Exact, Reference
from .transform import Transform

# Raised whenever the same inputs would give other arrays, or a file another form, so that an old file is never taken
# for a new one.
SCHEMA = 4
ARRAYS = ("condition", "defined", "mass", "scale", "sole_target")
# What zipfile, NumPy and Arrow raise between them when a bit of the file has changed.
_DAMAGED = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
_CODEC = "zstd"  # four times as quick to read as zlib; the archive's own checksums are over what is compressed


def folder() -> Path | None:
    """The cache folder, or None where it is switched off."""
    return cache_folder(CacheKind.REFERENCES)


def key(parts: Mapping[str, ArrayLike]) -> str:
    """A digest of named arrays and scalars: names, dtypes, shapes and bytes all count."""
    digest = hashlib.sha256(f"logitlab reference {SCHEMA}".encode())
    for name, part in sorted(parts.items()):
        array = np.ascontiguousarray(part)
        digest.update(f"|{name}:{array.dtype.str}:{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def load(name: str, transform: Transform) -> Reference | None:
    """The reference kept under a digest; None if there is none, or if the file is damaged."""
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


def save(name: str, reference: Reference) -> None:
    """Keeps a reference, in one step, so that a reader never sees half a file.

    A folder that cannot be written costs time, never a result.
    """
    root = folder()
    if root is None:
        return
    probabilities, gradient = _bits(reference.probabilities), _bits(reference.gradient)
    arrays = {part: np.asarray(getattr(reference, part)) for part in ARRAYS}
    arrays |= {"loss": np.stack([reference.loss.hi, reference.loss.lo]), "shape": np.array(probabilities.shape[1:])}
    arrays |= {"probabilities": _packed(probabilities), "gradient": _packed(gradient ^ probabilities)}
    arrays |= {} if reference.inner is None else {"inner": _packed(reference.inner)}
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
    """The bits of float64 numbers of a shape, read-only; ValueError if there are more or fewer."""
    raw = pa.Codec(_CODEC).decompress(packed.tobytes(), 8 * int(np.prod(shape)))
    return np.frombuffer(raw, np.uint64).reshape(shape)
