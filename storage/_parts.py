"""The parts of a run: numbered Parquet files, each written once and verified by its checksum.

The checksums have the format of ``sha256sum``, which can verify them too. A part's line is added before the part is
renamed to its place, so that no part lacks a checksum. The last line of a name counts; a truncated line is ignored.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..core import files
from ..core.errors import UsageError

FOLDER, PROGRAMS_FOLDER, BITWISE_FOLDER, CHECKSUMS = "parts", "programs", "bitwise", "parts.sha256"
BESIDE = (PROGRAMS_FOLDER, BITWISE_FOLDER)  # the folders of files beside the parts, with the same numbers
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")
# The temporary files that a killed process leaves, of this LogitLab and of the first one.
_TEMPORARY = re.compile(rf"(tmp\w{{8}}|\..*\.(json|parquet|sha256|log)){re.escape(files.TEMPORARY)}")


class Checksums:
    """The checksums of a run folder's files, by their names relative to the folder.

    Attributes:
        known: the checksums, in hexadecimal.
        kept: whether the folder has a file of checksums; runs of the first LogitLab have none.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / CHECKSUMS
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = None
        self.kept = lines is not None
        found = (_LINE.fullmatch(line) for line in lines or ())
        self.known: dict[str, str] = {line[2]: line[1] for line in found if line is not None}

    def add(self, name: str, data: bytes) -> None:
        """Add the checksum of a file that is about to be written."""
        digest = files.digest(data)
        files.append(self._path, f"{digest}  {name}")
        self.known[name], self.kept = digest, True

    def rewrite(self, known: Mapping[str, str]) -> None:
        """Replace all checksums by these, one a line."""
        files.write(self._path, "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items())).encode())
        self.known, self.kept = dict(known), True


class Parts:
    """The parts of a run folder, and the checksums of its files.

    Attributes:
        checksums: as read when the parts were last listed, with those that this process has written since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checksums = Checksums(folder)

    def path(self, index: int) -> Path:
        return self.folder / FOLDER / f"{index:05d}.parquet"

    def beside(self, of: str, index: int) -> Path:
        """Return the file of this number in a folder of `BESIDE`; it exists if it has any line."""
        return self.folder / of / f"{index:05d}.parquet"

    def read_beside(self, of: str, schema: pa.Schema) -> pd.DataFrame:
        """Return the lines of all files in a folder of `BESIDE`, in the order of their numbers.

        Raises:
            UsageError: for a file that cannot be read.
        """
        tables = [schema.empty_table()]
        for path in numbered(self.folder, of):
            try:
                tables.append(pq.read_table(path).cast(schema))
            except (OSError, ValueError, pa.ArrowException) as error:
                raise UsageError(f"{path} is damaged ({error}); see `logitlab doctor {self.folder}`") from error
        lines: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return lines

    def name(self, path: Path) -> str:
        """Return the file's name in the list of checksums."""
        return path.relative_to(self.folder).as_posix()

    def listed(self) -> list[Path]:
        """Return the existing parts that the run wrote, in the order of the plan."""
        self.checksums = Checksums(self.folder)
        found = numbered(self.folder)
        return [p for p in found if self.name(p) in self.checksums.known] if self.checksums.kept else found

    def lost(self) -> list[Path]:
        """Return the parts that were written and no longer exist."""
        named = (self.folder / name for name in self.checksums.known if name.startswith(f"{FOLDER}/"))
        return sorted(path for path in named if not path.exists())

    def has(self, index: int) -> bool:
        """Return whether a part exists and is undamaged."""
        return self.is_whole(self.path(index))

    def is_whole(self, path: Path) -> bool:
        """Return whether a file exists and is undamaged."""
        try:
            return self.defect(path) is None
        except FileNotFoundError:
            return False

    def keep(self, path: Path, data: bytes) -> None:
        """Write a file and, before it is renamed to its place, its checksum."""
        files.write(path, data, just_before=lambda: self.checksums.add(self.name(path), data))

    def defect(self, path: Path) -> str | None:
        """Return the defect of an existing file, or None if the file is as written."""
        try:
            if self.checksums.kept:
                expected = self.checksums.known.get(self.name(path))
                if expected is None:
                    return "it has no checksum"
                same = expected == files.digest_of(path)
                return None if same else "its checksum differs: it changed after it was written"
            for _ in pq.ParquetFile(path).iter_batches():
                pass
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            return str(error)
        return None

    def repair(self, also: str) -> tuple[str, ...]:
        """Remove temporary files, rename damaged parts, and return a message for each damaged part.

        A run without checksums gets them. The checksums of the file ``also`` and of files in `BESIDE` are kept.
        """
        for temporary in temporaries(self.folder):
            temporary.unlink()
        beside = tuple(f"{of}/" for of in BESIDE)
        known = {n: d for n, d in self.checksums.known.items() if n == also or n.startswith(beside)}
        messages = []
        for path in numbered(self.folder):
            defect = self.defect(path)
            if defect is None:
                known[self.name(path)] = files.digest_of(path)
            else:
                messages.append(f"{path} is damaged ({defect}); renamed to {_set_aside(path)}, and measured again")
        self.checksums.rewrite(known)
        return tuple(messages)


def numbered(folder: Path, of: str = FOLDER) -> list[Path]:
    """Return the files of a run folder with the name of a part, or of a file beside it, by their numbers."""
    named = (p for p in (folder / of).glob("*.parquet") if re.fullmatch("[0-9]{5,12}", p.stem))
    return sorted(named, key=lambda path: int(path.stem))


def temporaries(folder: Path) -> list[Path]:
    """Return the temporary files that a killed process left."""
    places = (folder, *(folder / of for of in (FOLDER, *BESIDE, "logs")))
    found = (p for place in places for p in place.glob(f"*{files.TEMPORARY}") if _TEMPORARY.fullmatch(p.name))
    return sorted(p for p in found if p.is_symlink() or p.is_file())


def _set_aside(path: Path) -> str:
    names = (f"{path.name}.damaged{count or ''}" for count in range(1_000_000))
    name = next(name for name in names if not path.with_name(name).exists())
    path.rename(path.with_name(name))
    return name
