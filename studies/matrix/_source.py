"""The running LogitLab, in a form that another environment can install."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

NAME = "logitlab"
NOT_INSTALLED = ("tests", "examples", "tools", "benchmarks")  # folders of the source tree that are not installed


@dataclass(frozen=True)
class LogitLabSource:
    """The LogitLab to install.

    Attributes:
        pin: the rest of a requirement after the name: a version, or the address of the source or the wheel.
        digest: a digest of the content, so that an environment with another LogitLab is not reused.
    """

    pin: str
    digest: str

    def requirement(self, extras: Sequence[str]) -> str:
        return f"{NAME}[{','.join(extras)}]{self.pin}" if extras else f"{NAME}{self.pin}"


def running_source(folder: Path) -> LogitLabSource:
    """Return the running LogitLab: a copy of its source tree in ``folder``, its wheel, or its version.

    The tree is copied because a build writes into it and includes the files of earlier builds.
    """
    origin = _origin()
    path = Path(url2pathname(urlparse(origin).path)) if origin.startswith("file:") else None
    if path is None or not path.exists():
        version = metadata.version(NAME)
        return LogitLabSource(f"=={version}", version)
    if path.is_file():
        return LogitLabSource(f" @ {origin}", hashlib.sha256(path.read_bytes()).hexdigest())
    digest = hashlib.sha256()
    for relative in sorted(_sources(path)):
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path / relative, target)
        digest.update(f"{relative.as_posix()}|".encode() + target.read_bytes())
    return LogitLabSource(f" @ {folder.resolve().as_uri()}", digest.hexdigest())


def _origin() -> str:
    """Return the address that it was installed from, empty for an index."""
    # A build leaves metadata in the source tree. Started there, Python finds these first, and they lack the address.
    texts = (found.read_text("direct_url.json") for found in metadata.distributions(name=NAME))
    return next((str(json.loads(text).get("url", "")) for text in texts if text), "")


def _sources(root: Path) -> Iterator[Path]:
    """Yield the files of an installation, relative to the root of the source tree."""
    for path in root.iterdir():
        if path.is_file() and (path.suffix in (".py", ".pyi", ".toml", ".md", ".typed") or path.name == "LICENSE"):
            yield path.relative_to(root)
        elif (path / "__init__.py").exists() and path.name not in NOT_INSTALLED:
            files = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
            yield from (file.relative_to(root) for file in files)
