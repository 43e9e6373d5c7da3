"""The parts of a run: numbered Parquet files, each written once and held to its checksum ever after.

The checksums are in the format of ``sha256sum``, which verifies them too. A line is added before the part that it is of
is moved into its place, so that there is no part without one. The last line of a name counts; what is no line, since it
was torn off, counts for nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..core import files

FOLDER, CHECKSUMS = "parts", "parts.sha256"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")
# What a kill leaves: of ours by the names of their files, and those of the first LogitLab.
_TEMPORARY = re.compile(rf"(tmp\w{{8}}|\..*\.(json|parquet|sha256|log)){re.escape(files.TEMPORARY)}")


class Checksums:
    """Those of a run folder, by the names of files relative to it.

    Attributes:
        known: the checksums, in hexadecimal.
        kept: whether there is such a file; runs of the first LogitLab have none.
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
        """Keeps the checksum of a file that is about to be written."""
        digest = files.digest(data)
        files.append(self._path, f"{digest}  {name}")
        self.known[name], self.kept = digest, True

    def rewrite(self, known: Mapping[str, str]) -> None:
        """Puts these in place of all that there are, a line each."""
        files.write(self._path, "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items())).encode())
        self.known, self.kept = dict(known), True


class Parts:
    """Those of a run folder, and the checksums of its other files.

    Attributes:
        checksums: as they were when the parts were last listed, or as this process has written them since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checksums = Checksums(folder)

    def path(self, index: int) -> Path:
        return self.folder / FOLDER / f"{index:05d}.parquet"

    def name(self, path: Path) -> str:
        """As the file is called among the checksums."""
        return path.relative_to(self.folder).as_posix()

    def listed(self) -> list[Path]:
        """The parts that are there, in the order of the plan; without those that the run did not write."""
        self.checksums = Checksums(self.folder)
        found = numbered(self.folder)
        return [p for p in found if self.name(p) in self.checksums.known] if self.checksums.kept else found

    def lost(self) -> list[Path]:
        """The parts that were written and are no longer there."""
        named = (self.folder / name for name in self.checksums.known if name.startswith(f"{FOLDER}/"))
        return sorted(path for path in named if not path.exists())

    def has(self, index: int) -> bool:
        """Whether a part is there, as it was written."""
        try:
            return self.defect(self.path(index)) is None
        except FileNotFoundError:
            return False

    def keep(self, path: Path, data: bytes) -> None:
        """Writes a file with its checksum: no moment is without one of a file that is there."""
        files.write(path, data, just_before=lambda: self.checksums.add(self.name(path), data))

    def defect(self, path: Path) -> str | None:
        """What is wrong with a file that is there, in words; None if it is as it was written."""
        try:
            if self.checksums.kept:
                expected = self.checksums.known.get(self.name(path))
                if expected is None:
                    return "it has no checksum"
                same = expected == files.digest_of(path)
                return None if same else "it is not as it was written: its checksum is another"
            for _ in pq.ParquetFile(path).iter_batches():
                pass
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            return str(error)
        return None

    def repair(self, also: str) -> tuple[str, ...]:
        """Removes what a kill left half written, sets aside under another name each part that is not as it was
        written, and returns what was wrong with them.

        A run from before there were checksums has them from then on; that of the file ``also`` is kept.
        """
        for temporary in temporaries(self.folder):
            temporary.unlink()
        known = {name: digest for name, digest in self.checksums.known.items() if name == also}
        messages = []
        for path in numbered(self.folder):
            defect = self.defect(path)
            if defect is None:
                known[self.name(path)] = files.digest_of(path)
            else:
                messages.append(f"{path} is damaged ({defect}); it is kept as {_set_aside(path)} and measured again")
        self.checksums.rewrite(known)
        return tuple(messages)


def numbered(folder: Path) -> list[Path]:
    """The files of a run folder that are named as parts are, by their numbers."""
    named = (p for p in (folder / FOLDER).glob("*.parquet") if re.fullmatch("[0-9]{5,12}", p.stem))
    return sorted(named, key=lambda path: int(path.stem))


def temporaries(folder: Path) -> list[Path]:
    """What a kill left half written."""
    places = (folder, folder / FOLDER, folder / "logs")
    found = (p for place in places for p in place.glob(f"*{files.TEMPORARY}") if _TEMPORARY.fullmatch(p.name))
    return sorted(p for p in found if p.is_symlink() or p.is_file())


def _set_aside(path: Path) -> str:
    names = (f"{path.name}.damaged{count or ''}" for count in range(1_000_000))
    name = next(name for name in names if not path.with_name(name).exists())
    path.rename(path.with_name(name))
    return name
