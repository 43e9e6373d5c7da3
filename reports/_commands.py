"""The commands that reports propose."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from .tables.grades import Column


def explain_command(case: str, implementation: str, column: Column) -> str:
    """Return the command that follows a case through an implementation; the usual device and mode are left out."""
    dtype, mode, device = column
    words = ["logitlab", "explain", case, "--implementation", implementation, "--dtype", dtype]
    words += ["--device", device] * (device != "cpu") + ["--mode", mode] * (mode != "eager")
    return shlex.join(words)


def report_command(folders: Sequence[Path], *options: str) -> str:
    """Return ``logitlab report`` of these runs."""
    return shlex.join(["logitlab", "report", *map(str, folders), *options])
