"""The folders of what is kept between runs, below ``$LOGITLAB_CACHE`` or else the user's cache folder."""

import hashlib
import os
import platform
from pathlib import Path

import platformdirs


def cache_folder(name: str) -> Path | None:
    """The folder of this name; None where ``LOGITLAB_CACHE`` is empty, which switches the cache off."""
    chosen = os.environ.get("LOGITLAB_CACHE", platformdirs.user_cache_dir("logitlab"))
    return Path(chosen) / name if chosen else None


def program_folder(framework: str) -> Path | None:
    """The folder for the programs that a framework compiles for this kind of processor."""
    # A home folder may be shared by several kinds.
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    processor = hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]
    return cache_folder(f"{framework}-{processor}")
