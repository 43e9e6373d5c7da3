"""References kept on disk under the content of their inputs.

They lie in ``references`` below ``$LOGITLAB_CACHE`` if that is set (empty switches the cache off), else below the
user's cache folder.
"""

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..core.cache_folder import cache_folder
from ._answer import Exact, Reference
from .transform import Transform

# Raised whenever the same inputs would give other arrays, so that an old file is never taken for a new one.
SCHEMA = 3
EXACT, ARRAYS = ("loss", "probabilities", "gradient"), ("condition", "defined", "mass", "scale", "sole_target")
# What zipfile and NumPy raise between them when a bit of the file has changed.
_DAMAGED = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


def folder() -> Path | None:
    """The cache folder, or None where it is switched off."""
    return cache_folder("references")


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
    try:
        with (root / name[:2] / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as kept:
            loss, probabilities, gradient = (Exact(*(half.copy() for half in kept[part])) for part in EXACT)
            condition, defined, mass, scale, sole_target = (kept[part] for part in ARRAYS)
            inner = kept["inner"] if "inner" in kept.files else None
            return Reference(
                loss, probabilities, gradient, condition, defined, mass, scale, sole_target, transform, inner
            )
    except _DAMAGED:
        return None


def save(name: str, reference: Reference) -> None:
    """Keeps a reference, in one step, so that a reader never sees half a file.

    A folder that cannot be written costs time, never a result.
    """
    root = folder()
    if root is None:
        return
    exact: dict[str, Exact] = {part: getattr(reference, part) for part in EXACT}
    arrays = {part: np.stack([e.hi, e.lo]) for part, e in exact.items()}
    arrays |= {part: getattr(reference, part) for part in ARRAYS}
    arrays |= {} if reference.inner is None else {"inner": reference.inner}
    temporary = None
    try:
        target = root / name[:2] / f"{name}.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            np.savez(file, allow_pickle=False, **arrays)
        Path(temporary).replace(target)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
