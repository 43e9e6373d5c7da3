"""The reports that ``logitlab run --report`` writes: a first one while the run goes on, the whole one at its end."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..storage.store import Run

FOLDER = "report"
# Quickly written, and every table is in the text; the site takes as long as a tenth of the run.
FIRST_FORMATS = ("text", "markdown")
FIRST_FILE = "report.txt"
FOR_SITE = ("altair", "jinja2", "vl_convert")


class ReportsOfRun:
    """The reports of one run, in the folder ``report`` of the run.

    The first is written by a process of its own, so that the run's workers do not wait for it.
    """

    def __init__(self) -> None:
        self._writing: subprocess.Popen[bytes] | None = None
        self._run: Run | None = None

    def start_first(self, run: Run) -> None:
        """Starts to write the report of what is measured by now."""
        formats = [word for name in FIRST_FORMATS for word in ("--format", name)]
        # -P: not from a folder named logitlab that happens to be where the command was started.
        command = [sys.executable, "-P", "-m", "logitlab", "report", str(run.folder), *formats]
        self._run = run
        self._writing = subprocess.Popen(
            [*command, "--out", str(run.folder / FOLDER)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def print_first(self) -> None:
        """Prints where the first report is, once it is there."""
        if self._writing is None or self._run is None or self._writing.poll() is None:
            return
        if self._writing.returncode == 0:
            where = self._run.folder / FOLDER / FIRST_FILE
            print(
                f"A first report, of float32 in eager mode, is {where}; the run goes on and completes it.",
                file=sys.stderr,
            )
        self._writing = None

    def close(self) -> None:
        """Ends the process that writes the first report, if it is not done."""
        if self._writing is not None:
            self._writing.kill()
            self._writing.wait()
            self._writing = None

    def write_whole(self, run: Run) -> None:
        """Writes the report of the whole run in place of the first, and prints where."""
        from .. import reports

        self.close()
        site = all(find_spec(package) is not None for package in FOR_SITE)
        formats = [*["html"] * site, "text", "markdown", "csv"]
        first, *_ = reports.write(run, formats, run.folder / FOLDER, tell=lambda line: print(line, file=sys.stderr))
        also = "the same as text, Markdown and CSV is beside it" if site else "with Markdown and CSV beside it"
        print(f"The report is {first}; {also}.")
