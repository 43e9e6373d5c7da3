"""A session: worker processes that measure one case in one cell after another, for `explain` and `reproduce`."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..cases import Case
from ..cases.inputs import default_cases, find_case, read_cases
from ..core.arguments import as_integer, as_paths, as_positive, as_string
from ..core.formats import Format, get_format
from ..execution.plan import Cell, choose_frameworks
from ..execution.pool import DEFAULT_TIMEOUT, Pools
from ..execution.registry import Description
from ._cells import REDUCED, choose_cell, owner_of, require_dtype, require_row
from ._measurer import Measurer


@dataclass(frozen=True)
class CellRequest:
    """A case, the cell to measure it in, and one of its rows, as a user gives them."""

    case: str
    implementation: str
    dtype: object = "float32"
    row: int | None = None
    device: str = "cpu"
    mode: str = "eager"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A valid request: the case, its cell and row, and what measures them."""

    case: Case
    cell: Cell
    fmt: Format
    row: int | None
    measurer: Measurer


class Session:
    """Measures many cases with one set of worker processes, in a ``with`` block.

    Args:
        frameworks: the frameworks of the implementations.
        timeout: time limit of a call in seconds.
        case_files: case files, as a hunt writes them; see `inputs.read_cases`.

    Raises:
        UsageError: for an unknown framework, or an invalid case file.
    """

    def __init__(
        self,
        frameworks: Sequence[str],
        timeout: float = DEFAULT_TIMEOUT,
        case_files: str | Path | Sequence[str | Path] | None = None,
    ) -> None:
        self._frameworks, self._timeout = choose_frameworks(frameworks), as_positive(timeout, "timeout", "seconds")
        self._paths = as_paths(case_files, "case_files")
        self._cases = {c.id: c for path in self._paths for c in read_cases(path)}
        self._open = ExitStack()
        self._descriptions: dict[str, Description] = {}
        self._measurers: dict[bool, Measurer] = {}

    def __enter__(self) -> Self:
        self._open.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def prepare(self, request: CellRequest) -> Prepared:
        """Check a request, and start the frameworks for the first one.

        Raises:
            UsageError: for an argument of the wrong type, an unknown name, or a row that the case does not have. Also
                for a case that the dtype cannot hold or the implementation does not take.
        """
        fmt, name = get_format(request.dtype), as_string(request.case, "case")
        row = None if request.row is None else as_integer(request.row, "row", REDUCED)
        mode, device = as_string(request.mode, "mode"), as_string(request.device, "device")
        case = self._cases[name] if name in self._cases else find_case(name, self._paths)
        # Checked before a framework is started.
        require_dtype(case, fmt)
        require_row(case, row)
        measurer = self._measurer(of_files=name in self._cases)
        description = self._descriptions[owner_of(request.implementation)]
        cell = choose_cell(description, request.implementation, fmt.name, device, mode, case)
        return Prepared(case, cell, fmt, row, measurer)

    def _measurer(self, *, of_files: bool) -> Measurer:
        if not self._descriptions:
            logs = self._open.enter_context(tempfile.TemporaryDirectory(prefix="logitlab-"))
            pools = self._open.enter_context(Pools(self._frameworks, Path(logs), self._timeout))
            self._descriptions = pools.describe()
            # A run of the default cases, and a run of the case files, each put their own rows into one call.
            stacked = {True: tuple(self._cases.values()), False: default_cases()}
            self._measurers = {of_files: Measurer(pools, cases) for of_files, cases in stacked.items()}
        return self._measurers[of_files]
