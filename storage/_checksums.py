"""The checksums of a run's files: ``parts.sha256``, in the format of ``sha256sum``, which verifies it too.

A line is added before the part that it is of is moved into its place, so that there is no part without one. The last
line of a name counts; what is no line, since it was torn off, counts for nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from ..core import files

FILE = "parts.sha256"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")


class Checksums:
    """Those of a run folder, by the names of files relative to it.

    Attributes:
        known: the checksums, in hexadecimal.
        kept: whether there is such a file; runs of the first LogitLab have none.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = None
        self.kept = lines is not None
        found = (_LINE.fullmatch(line) for line in lines or ())
        self.known: dict[str, str] = {line[2]: line[1] for line in found if line is not None}

    def add(self, name: str, data: bytes) -> None:
        """Keeps the checksum of a file that is about to be written."""
        files.append(self._path, _line(name, files.digest(data)))
        self.known[name] = files.digest(data)
        self.kept = True

    def rewrite(self, known: Mapping[str, str]) -> None:
        """Puts these in place of all that there are, a line each."""
        files.write(self._path, "".join(f"{_line(*item)}\n" for item in sorted(known.items())).encode())
        self.known, self.kept = dict(known), True


def _line(name: str, digest: str) -> str:
    return f"{digest}  {name}"
