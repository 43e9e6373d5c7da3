"""``reproduce``: a measurement as a program, and the smallest batch in which the measurement is the same."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...cases import LinearCase
from ...core.arguments import as_path, as_string
from ...core.errors import UsageError
from ...core.files import explain_os_errors, refuse_existing
from ...core.vocabulary import QUANTITIES, Problem, Quantity
from ...execution.pool import DEFAULT_TIMEOUT
from ...execution.program import Written
from .._cells import owner_of
from .._session import CellRequest, Session
from ._writer import DATA, Writer

PROGRAM = "reproduce.py"


def reproduce(
    case: str,
    implementation: str,
    dtype: object = "float32",
    row: int | None = None,
    device: str = "cpu",
    *,
    mode: str = "eager",
    quantity: str | None = None,
    out: str | Path | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    case_files: str | Path | Sequence[str | Path] | None = None,
) -> str:
    """Return a program of a dozen lines that makes one measurement in its framework, without LogitLab.

    The program makes the call that was measured, from the source of the function that LogitLab calls. It prints the
    result, the exact values, rounded to float64, and the versions.

    Args:
        case: the full ``family/name`` of a case of the catalogue, of a sweep, or of the case files.
        implementation: its full name, such as ``torch/naive``.
        dtype: ``float16``, ``bfloat16``, ``float32`` or ``float64``.
        row: the row, from 0, or -1 for a reduced loss. The program has this row alone if the result is the same, bit
            for bit; else it has the whole case and prints the row. By default all rows.
        device: a device that the framework finds.
        mode: a mode of the implementation, such as ``eager`` or ``compiled``, or a variant of one, such as
            ``eager+one-thread``.
        quantity: ``loss``, ``gradient`` or ``probabilities``; for hidden states ``loss``, ``gradient_hidden``,
            ``gradient_weight`` or ``gradient_bias``. By default the one with the worst grade. Of more than 64 numbers,
            the program prints the one with the largest error.
        out: a folder for the program, ``reproduce.py``, and for logits that no short expression gives, ``logits.npy``.
        timeout: time limit of a call in seconds.
        case_files: case files, as a hunt writes them; see `inputs.read_cases`.

    Raises:
        UsageError: for an argument of the wrong type, an unknown name, or an invalid case file. Also for a case that
            the dtype cannot hold or the implementation does not take, and if there is no such program.
    """
    owner = owner_of(as_string(implementation, "implementation"))
    folder = None if out is None else as_path(out, "out")
    if folder is not None:
        refuse_existing(folder / PROGRAM, "folder")
    request = ReproduceRequest(case, implementation, dtype, row, device, mode, quantity)
    with Reproducer([owner], timeout, case_files) as reproducer:
        written = reproducer.reproduce(request, with_file=folder is not None)
    if folder is not None:
        _keep(folder, written)
    return written.program


@dataclass(frozen=True)
class ReproduceRequest(CellRequest):
    """The measurement to write as a program; the fields are the arguments of `reproduce`."""

    quantity: str | None = None


class Reproducer(Session):
    """Writes many programs with one set of worker processes, in a ``with`` block.

    Args:
        frameworks: the frameworks of the implementations.
        timeout: time limit of a call in seconds.
        case_files: as for `reproduce`.

    Raises:
        UsageError: for an unknown framework, or an invalid case file.
    """

    def reproduce(self, request: ReproduceRequest, *, with_file: bool = False) -> Written:
        """Return a program like the function `reproduce`; ``with_file`` lets it read arrays from files."""
        quantity = request.quantity
        if quantity is not None and quantity not in QUANTITIES:
            raise UsageError(f"unknown quantity {quantity!r}; choose one of {', '.join(QUANTITIES)}")
        asked = self.prepare(request)
        case, cell = asked.case, asked.cell
        if quantity is not None and quantity not in cell.implementation.quantities:
            has = ", ".join(cell.implementation.quantities)
            raise UsageError(f"{request.implementation} returns no {quantity}; choose one of {has}")
        if quantity == Quantity.GRADIENT_BIAS and isinstance(case, LinearCase) and case.linear_bias is None:
            raise UsageError(f"{case.id} has no bias, and so no gradient_bias; choose another quantity")
        writer = Writer(asked.measurer.pools, cell, asked.fmt, asked.measurer)
        written = writer.write(case, asked.row, None if quantity is None else Quantity(quantity), with_file=with_file)
        if written.problem:
            shorter = asked.row is None and case.rows > 1 and case.problem is Problem.LOGITS
            or_row = ", or --row" if shorter else ""
            fix = f"; give --out FOLDER for a program that reads a file{or_row}" if written.needs_file else ""
            raise UsageError(f"no program shows {request.implementation} on {case.id}: {written.problem}{fix}")
        return written


def run_program(program: str, folder: Path | None = None, timeout: float = DEFAULT_TIMEOUT) -> str:
    """Run a program in a new process and return what it prints, with the last line of an exception.

    Args:
        program: its text.
        folder: the folder with its data; a temporary one by default.
        timeout: the time limit in seconds.
    """
    with tempfile.TemporaryDirectory(prefix="logitlab-") as temporary:
        place = Path(temporary) if folder is None else folder
        file = Path(temporary) / PROGRAM
        file.write_text(program, encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, str(file)], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                text=True, encoding="utf-8", errors="replace", timeout=timeout,
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"no end within {timeout:g} seconds\n"
    ended = f"exit code {done.returncode}\n" if done.returncode < 0 else ""
    return done.stdout + "".join(done.stderr.strip().splitlines(keepends=True)[-1:] if done.returncode else []) + ended


def _keep(folder: Path, written: Written) -> None:
    with explain_os_errors(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROGRAM).write_text(written.program, encoding="utf-8")
        for name, values in written.arrays.items():
            np.save(folder / DATA.format(name=name), values)
