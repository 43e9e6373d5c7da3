"""The cache folders, below ``$LOGITLAB_CACHE`` or the user's cache folder."""

import hashlib
import os
import platform
from enum import StrEnum
from pathlib import Path

import platformdirs


class CacheKind(StrEnum):
    """A kind of cache entry; the value is the name of its folder, or the start of its folders' names."""

    REFERENCES = "references"
    JAX = "jax"
    TORCH = "torch"
    TINYGRAD = "tinygrad"
    ENVIRONMENTS = "environments"
    CHECKS = "checks"

    @property
    def description(self) -> str:
        """The content of the entries, in a few words."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    CacheKind.REFERENCES: "exact answers",
    CacheKind.JAX: "programs compiled by JAX",
    CacheKind.TORCH: "programs compiled by PyTorch's Inductor",
    CacheKind.TINYGRAD: "kernels compiled by tinygrad",
    CacheKind.ENVIRONMENTS: "virtual environments of `logitlab matrix`",
    CacheKind.CHECKS: "failures of the last checks",
}


def cache_root() -> Path | None:
    """Return the cache folder, or None if ``LOGITLAB_CACHE`` is empty, which turns the cache off."""
    chosen = os.environ.get("LOGITLAB_CACHE", platformdirs.user_cache_dir("logitlab"))
    return Path(chosen) if chosen else None


def cache_folder(name: str) -> Path | None:
    """Return the folder of this name in the cache folder, or None if the cache is off."""
    root = cache_root()
    return None if root is None else root / name


def program_folder(framework: str) -> Path | None:
    """Return the folder for the programs that a framework compiles for this kind of processor."""
    # Machines with different processors may share a home folder.
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    processor = hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]
    return cache_folder(f"{framework}-{processor}")
