"""Where compilers keep their programs, below LogitLab's cache folder."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import platformdirs


def program_folder(framework: str) -> Path | None:
    """The folder for one framework's programs on this kind of processor; None where ``LOGITLAB_CACHE`` is empty."""
    chosen = os.environ.get("LOGITLAB_CACHE", platformdirs.user_cache_dir("logitlab"))
    return Path(chosen) / f"{framework}-{_processor()}" if chosen else None


def _processor() -> str:
    # A program is compiled for this very processor, and a home folder may be shared by several kinds.
    cpu = Path("/proc/cpuinfo")
    told = cpu.read_text().splitlines() if cpu.exists() else []
    flags = next((line for line in told if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]
