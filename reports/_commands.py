"""The commands that reports propose."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from .tables.grades import Column


def explain_command(case: str, implementation: str, column: Column) -> str:
    """Return the command that follows a case through an implementation; the usual device and mode are left out."""
    return shlex.join(["logitlab", "explain", *_cell(case, implementation, column)])


def reproduce_command(case: str, implementation: str, column: Column, row: int) -> str:
    """Return the command that prints the program of a row; the usual device and mode are left out."""
    return shlex.join(["logitlab", "reproduce", *_cell(case, implementation, column), "--row", str(row)])


def _cell(case: str, implementation: str, column: Column) -> list[str]:
    dtype, mode, device = column
    words = [case, "--implementation", implementation, "--dtype", dtype]
    return words + ["--device", device] * (device != "cpu") + ["--mode", mode] * (mode != "eager")


def report_command(folders: Sequence[Path], *options: str) -> str:
    """Return ``logitlab report`` of these runs."""
    return shlex.join(["logitlab", "report", *map(str, folders), *options])
