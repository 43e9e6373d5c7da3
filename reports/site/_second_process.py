"""A second process that writes the pages of cases and implementations, since one process uses one core.

``python -m logitlab.reports.site._second_process OUT RUN...`` is that process.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from ...storage.store import Run
from .._report import Report, make_report
from ._write import Part, write_pages

FROM_LINES = 20_000  # measurements; the pages of fewer take less time than a process to start


class SecondProcess:
    """The process, as a context that ends it. A small report, or one on a single core, has none."""

    def __init__(self, found: Report, out: Path) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if found.source.cells["lines"].sum() >= FROM_LINES and (os.cpu_count() or 1) > 1:
            folders = [str(folder.absolute()) for folder in (out, *found.folders)]
            # -P: do not import a folder named logitlab in the current folder.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, *folders],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def succeeded(self) -> bool:
        """Wait for the process; return whether it wrote its pages. If not, the caller's attempt shows the reason."""
        return self._process is not None and self._process.wait() == 0


if __name__ == "__main__":
    target, *runs = map(Path, sys.argv[1:])
    write_pages(make_report([Run(run) for run in runs]), target, Part.DETAIL)
