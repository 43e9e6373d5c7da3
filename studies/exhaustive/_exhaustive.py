"""``exhaustive``: measure implementations on every row of two classes of a format."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from ...core.arguments import Strings, as_dtypes, as_positive, as_string, as_strings
from ...core.errors import UsageError
from ...core.formats import get_format
from ...core.progress import Progress, reporting
from ...core.vocabulary import Problem
from ...execution.plan import Cell, choose_cells, choose_frameworks, owners
from ...execution.pool import DEFAULT_TIMEOUT, Pools
from ...execution.registry import ImplementationInfo
from . import _curve, _files, _table
from ._measuring import Measured, measure
from ._rows import Rows, all_rows

DTYPE = "float16"


@dataclass(frozen=True, eq=False)
class Exhaustive:
    """The result of an exhaustive study.

    Attributes:
        table: a line for each implementation, dtype and quantity, with the columns described below.
        curve: the largest error of each grade along the gap, for pictures: ``implementation``, ``dtype``, ``quantity``,
            ``gap``, ``grade``, ``ulp``, and the ``place`` and ``column`` on the axis. No worst row is left out.
        rows: for each dtype its rows in words, such as "all 126,976 rows [h, -h] of a finite number h, with both
            targets".
        seconds: how long the study took, with the imports.

    The columns of ``table``. A gap is the target's logit minus the other one:

    - ``framework``, ``implementation``, ``formula``, ``version``, ``dtype``, ``device``, ``mode``, ``quantity``;
    - ``status`` and ``detail``: ``ok``, or the fault of the rows without a result, and its message;
    - ``rows``, ``measured``: the number of all rows, and of those with a result;
    - ``out_dtype``: the dtype of the results;
    - ``grade``: the worst grade of a row, and ``proof``: the sentence that is proved. It is missing if a row has no
      result, or if the grade promises no error (D and F);
    - ``beyond_1_ulp``, ``beyond_10_ulp``, ``beyond_1000_ulp``: the share of rows with a larger error;
    - ``largest_ulp``: the largest finite error, and ``not_finite``: the number of rows with grade F;
    - ``a_lost_at`` to ``d_lost_at``: the gap of the smallest magnitude at which a row has a worse grade;
    - ``worst_gap``, ``worst_first``, ``worst_second``, ``worst_target``: the gap, logits and target of the row of the
      worst grade with the largest error, and ``worst_entry``, ``worst_value``, ``worst_exact``, ``worst_ulp``,
      ``worst_verdict``: its worst entry;
    - ``bits``: a digest of the results. Implementations with the same digest agree bit for bit on all rows.
    """

    table: pd.DataFrame
    curve: pd.DataFrame
    rows: Mapping[str, str]
    seconds: float

    def write(self, out: str | Path) -> list[Path]:
        """Write ``exhaustive.json``, ``exhaustive.csv`` and a picture of each dtype and quantity to a folder.

        Returns:
            The paths of the files. A picture is an SVG and a PNG.

        Raises:
            UsageError: if altair or vl-convert-python is not installed, or the folder has a study.
        """
        return _files.write(out, self.table, self.curve, self.rows, self.seconds)


def exhaustive(
    dtypes: object = None,
    frameworks: Strings = None,
    implementations: Strings = None,
    *,
    device: str = "cpu",
    mode: str = "eager",
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress | bool | None = None,
) -> Exhaustive:
    """Measure implementations on every row of two classes of a format, with both targets.

    float16, bfloat16 and other formats of 257 to 65,536 numbers have the centred rows ``[h, -h]`` of each finite number
    ``h``. The gap ``2h`` is exact. Smaller formats, such as ``e4m3fn``, have all pairs ``[a, b]`` of finite numbers. A
    grade on all rows is then proved, for these rows, this version and this machine. Centred rows do not show what a
    loss does with an offset, nor with a gap that the dtype rounds.

    Args:
        dtypes: float16 by default; the name of any format of up to 65,536 numbers.
        frameworks: all by default. Those that do not take a dtype are left out there.
        implementations: globs over their names; by default all losses of logits but those on request, and those that
            are called row by row, such as ``sklearn.metrics.log_loss``. The full name selects one of these.
        device: a device that the frameworks find.
        mode: ``eager``, ``graph`` or ``compiled``.
        timeout: time limit of one call in seconds. A call that fails is divided into parts, and the others are kept.
        progress: called with the number of measured cells, the total, and a label. By default a bar on a terminal, a
            line in a notebook, and nothing elsewhere; False for nothing.

    Raises:
        UsageError: for an argument of the wrong type, an unknown name, a dtype with too many numbers, or a selection
            without an implementation.
    """
    began = time.monotonic()
    chosen = [all_rows(get_format(name)) for name in dict.fromkeys(as_dtypes(dtypes) or [DTYPE])]
    globs = as_strings(implementations, "implementations")
    names = owners(choose_frameworks(as_strings(frameworks, "frameworks")), globs)
    device, mode = as_string(device, "device"), as_string(mode, "mode")
    limit = as_positive(timeout, "timeout", "seconds")
    found: dict[Cell, Found] = {}
    with (
        tempfile.TemporaryDirectory(prefix="logitlab-") as logs,
        reporting(progress) as report,
        Pools(names, Path(logs), limit) as pools,
    ):
        cells = _cells(pools, [rows.fmt.name for rows in chosen], globs, device, mode)
        for rows in chosen:
            of_dtype = [cell for cell in cells if cell.dtype == rows.fmt.name]
            for cell, measured in measure(pools, rows, of_dtype):
                found[cell] = Found.of(measured, rows)
                if report is not None:
                    report(len(found), len(cells), cell.label)
    # Cells end in any order.
    ordered = [found[cell] for rows in chosen for cell in cells if cell.dtype == rows.fmt.name]
    return Exhaustive(
        _table.table(line for one in ordered for line in one.lines),
        _curve.joined(curve for one in ordered for curve in one.curves),
        {rows.fmt.name: rows.wording for rows in chosen},
        time.monotonic() - began,
    )


@dataclass(frozen=True, eq=False)
class Found:
    """The part of a cell's measurements that the study keeps: a line and a curve for each quantity."""

    lines: tuple[_table.Line, ...]
    curves: tuple[pd.DataFrame, ...]

    @classmethod
    def of(cls, measured: Sequence[Measured], rows: Rows) -> Self:
        """Return the lines and curves of a cell's quantities."""
        return cls(
            tuple(_table.line(one, rows) for one in measured), tuple(_curve.curve(one, rows) for one in measured)
        )


def _cells(pools: Pools, dtypes: Sequence[str], globs: Sequence[str], device: str, mode: str) -> tuple[Cell, ...]:
    chosen = choose_cells(pools.describe(), dtypes, globs, [device], [mode])
    cells = tuple(cell for cell in chosen if _is_taken(cell.implementation, globs))
    if not cells:
        raise UsageError(
            f"{', '.join(globs)} matches no loss of logits that returns the losses of a batch; choose another "
            "implementation from `logitlab frameworks`, by its full name"
        )
    return cells


def _is_taken(info: ImplementationInfo, globs: Sequence[str]) -> bool:
    """Return whether a study measures an implementation; one that is called row by row would take minutes."""
    return info.problem is Problem.LOGITS and (not info.row_by_row or info.name in globs)
