"""The two reports of ``logitlab run --report``: a first one during the run, and the complete one at its end."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..storage.store import Run

FOLDER = "report"
# Text holds every table and is written quickly; the site takes as long as a tenth of the run.
FIRST_FORMATS = ("text", "markdown")
FIRST_FILE = "report.txt"
FOR_SITE = ("altair", "jinja2", "vl_convert")


class ReportsOfRun:
    """The reports of one run, in its folder ``report``.

    A separate process writes the first report, so that the run's workers do not wait for it.
    """

    def __init__(self) -> None:
        self._writing: subprocess.Popen[bytes] | None = None
        self._run: Run | None = None

    def start_first(self, run: Run) -> None:
        """Start a process that writes the report of the measurements so far."""
        formats = [word for name in FIRST_FORMATS for word in ("--format", name)]
        # -P: do not import a folder named logitlab in the current folder.
        command = [sys.executable, "-P", "-m", "logitlab", "report", str(run.folder), *formats]
        self._run = run
        self._writing = subprocess.Popen(
            [*command, "--out", str(run.folder / FOLDER)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def print_first(self) -> None:
        """Print the path of the first report after its process has ended."""
        if self._writing is None or self._run is None or self._writing.poll() is None:
            return
        if self._writing.returncode == 0:
            path = self._run.folder / FOLDER / FIRST_FILE
            print(f"The first report, of float32 in eager mode, is {path}; the run continues.", file=sys.stderr)
        self._writing = None

    def close(self) -> None:
        """Kill the process that writes the first report, if it still runs."""
        if self._writing is not None:
            self._writing.kill()
            self._writing.wait()
            self._writing = None

    def write_whole(self, run: Run) -> None:
        """Replace the first report with the report of the whole run, and print its path."""
        from .. import reports

        self.close()
        site = all(find_spec(package) is not None for package in FOR_SITE)
        formats = [*["html"] * site, "text", "markdown", "csv"]
        first, *_ = reports.write(run, formats, run.folder / FOLDER, warn=lambda line: print(line, file=sys.stderr))
        others = "text, Markdown and CSV" if site else "Markdown and CSV"
        print(f"The report is {first}; its folder also holds {others}.")
