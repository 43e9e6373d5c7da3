"""The folders of what is kept between runs, below ``$LOGITLAB_CACHE`` or else the user's cache folder."""

import hashlib
import os
import platform
from enum import StrEnum
from pathlib import Path

import platformdirs


class CacheKind(StrEnum):
    """What is kept; the value is the name of its folder, or how the names of its folders begin."""

    REFERENCES = "references"
    JAX = "jax"
    TORCH = "torch"
    ENVIRONMENTS = "environments"

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    CacheKind.REFERENCES: "exact answers",
    CacheKind.JAX: "programs compiled by JAX",
    CacheKind.TORCH: "programs compiled by PyTorch's Inductor",
    CacheKind.ENVIRONMENTS: "virtual environments of `logitlab matrix`",
}


def cache_root() -> Path | None:
    """The cache folder; None where ``LOGITLAB_CACHE`` is empty, which switches the cache off."""
    chosen = os.environ.get("LOGITLAB_CACHE", platformdirs.user_cache_dir("logitlab"))
    return Path(chosen) if chosen else None


def cache_folder(name: str) -> Path | None:
    """The folder of this name in the cache folder; None where the cache is switched off."""
    root = cache_root()
    return None if root is None else root / name


def program_folder(framework: str) -> Path | None:
    """The folder for the programs that a framework compiles for this kind of processor."""
    # A home folder may be shared by several kinds.
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    processor = hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]
    return cache_folder(f"{framework}-{processor}")
