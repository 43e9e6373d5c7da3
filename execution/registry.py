"""The installed frameworks and their descriptions; only the requested framework is imported."""

import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache, wraps
from importlib import metadata
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from packaging.utils import canonicalize_name

from ..core.conventions import STANDARD, Convention
from ..core.errors import format_error
from ..core.formats import FORMATS, NARROW, Format, get_format
from ..core.interpreting import DEVICE, INTERPRETED
from ..core.vocabulary import Problem
from ..frameworks import Framework, Implementation

_Arguments = TypeVarTuple("_Arguments")
_Found = TypeVar("_Found")

GROUP = "logitlab.frameworks"
HOSTED = "e5m6"  # a format that stands for all without a dtype of NumPy


@dataclass(frozen=True)
class ImplementationInfo:
    """The description of one implementation; ``version`` is None if its package is missing."""

    name: str
    formula: str
    package: str
    version: str | None
    modes: tuple[str, ...]
    quantities: tuple[str, ...] = ("loss",)
    plain_modes: tuple[str, ...] = ()
    devices: tuple[str, ...] | None = None
    reduces: bool = False
    row_by_row: bool = False
    problem: Problem = Problem.LOGITS
    convention: Convention = STANDARD
    on_request: bool = False
    traced: str | None = None

    @property
    def trace(self) -> str:
        """The name of its stages, as `Implementation.trace`."""
        return self.traced or self.formula

    def runs_on(self, device: str, mode: str) -> bool:
        """Return whether it runs on a device of its framework in a mode, given without a variant."""
        return device == DEVICE if mode == INTERPRETED else device in (self.devices or (device,))

    def devices_among(self, found: Iterable[str]) -> tuple[str, ...]:
        """Return the devices that it runs on in some mode: of those that its framework finds, or those it needs."""
        every = dict.fromkeys([*found, *(self.devices or ())])
        return tuple(d for d in every if any(self.runs_on(d, mode) for mode in self.modes))


@dataclass(frozen=True)
class Description:
    """The description of a framework.

    Attributes:
        missing: why it cannot be used; None if it can.
        failed: whether its packages are installed but its import failed, died or hung.
        distributions: for each of ``versions``, the distribution that holds the import package, as
            ``("paddle", "paddlepaddle")``.
        refused: the formats of NumPy and ml_dtypes that it does not take; see `Framework.takes`.
        hosted: whether it takes formats without a dtype of NumPy. It may still refuse one when it is called.
    """

    framework: str
    devices: tuple[str, ...] = ()
    implementations: tuple[ImplementationInfo, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    missing: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    failed: bool = False
    distributions: tuple[tuple[str, str], ...] = ()
    refused: tuple[str, ...] = ()
    hosted: bool = False

    def takes(self, fmt: Format) -> bool:
        """Return whether a run plans cells of this format for the framework."""
        return self.hosted if fmt.is_hosted else fmt.name not in self.refused


def _read_once(function: Callable[[*_Arguments], _Found]) -> Callable[[*_Arguments], _Found]:
    """Return the function of installed packages with its results kept until a folder of `sys.path` changes.

    Each reading parses the whole metadata of a distribution; together they were a tenth of a short run.
    """

    @lru_cache(maxsize=256)
    def kept(folders: tuple[tuple[str, int], ...], *args: *_Arguments) -> _Found:
        return function(*args)

    @wraps(function)
    def found(*args: *_Arguments) -> _Found:
        return kept(tuple((folder, _changed(folder)) for folder in sys.path), *args)

    return found


def _changed(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def names() -> tuple[str, ...]:
    """Return the names of all frameworks, LogitLab's and other packages', without importing any."""
    return tuple(sorted({e.name for e in _points()}))


@_read_once
def _points() -> tuple[metadata.EntryPoint, ...]:
    """Return the entry points of all frameworks."""
    return tuple(metadata.entry_points(group=GROUP))


@dataclass(frozen=True, order=True)
class Entry:
    """The entry point of a framework and its distribution; loading the framework imports and runs that code."""

    framework: str
    value: str
    distribution: str
    version: str

    @property
    def foreign(self) -> bool:
        """Whether a package other than LogitLab provides it."""
        return self.distribution != "logitlab"


@_read_once
def entries() -> tuple[Entry, ...]:
    """Return the entry points of all frameworks, without importing any."""
    found = _points()
    # Each reading of a name or a version parses the metadata of the distribution, which many entry points share.
    packages = {id(dist): _name_and_version(dist) for dist in {e.dist for e in found}}
    return tuple(sorted({Entry(e.name, e.value, *packages[id(e.dist)]) for e in found}))


def _name_and_version(distribution: metadata.Distribution | None) -> tuple[str, str]:
    return ("?", "?") if distribution is None else (distribution.name, distribution.version)


@cache
def load(name: str) -> Framework:
    """Import the framework, prepare this process for measuring, and return the framework."""
    framework = imported(name)
    framework.prepare()
    return framework


@cache
def imported(name: str) -> Framework:
    """Import the framework into this process and return it, without preparing the process.

    Raises:
        ImportError: if two packages offer the name, or the entry point is not a Framework.
    """
    found = {e.value: e for e in _points() if e.name == name}
    if len(found) > 1:
        raise ImportError(f"{len(found)} packages offer it, as {' and '.join(sorted(found))}; uninstall all but one")
    (entry,) = found.values()
    framework = entry.load()
    if not isinstance(framework, Framework):
        raise ImportError(f"{entry.value} is a {type(framework).__name__}; expected a logitlab.frameworks.Framework")
    return framework


def describe(name: str) -> Description:
    """Import the framework and return its description."""
    pid = os.getpid()
    description = _described(name)
    if os.getpid() != pid:
        os._exit(0)  # a fork of this process, made by the import, must not answer too
    return description


def _described(name: str) -> Description:
    try:
        framework = load(name)
        # Once for each package, of which a framework's implementations share a few: metadata takes long to parse.
        implementations = framework.all_implementations.values()
        packages = dict.fromkeys(i.package for i in implementations)
        holders = {p: d for p, d in zip(packages, map(distribution_of, packages), strict=True) if d is not None}
        versions = {package: installed_version(holder) for package, holder in holders.items()}
        infos = tuple(_info(i, versions.get(i.package)) for i in implementations)
        return Description(
            name, tuple(framework.devices()), infos, tuple(versions.items()),
            settings=tuple(framework.settings().items()),
            distributions=tuple((package, canonicalize_name(holder)) for package, holder in holders.items()),
            refused=tuple(known for known, fmt in (FORMATS | NARROW).items() if not framework.takes(fmt)),
            hosted=framework.takes(get_format(HOSTED)),
        )  # fmt: skip
    except BaseException as error:  # another package may raise anything, even SystemExit; other frameworks still run
        how = "cannot be imported" if isinstance(error, ImportError) else "failed when it was imported"
        failed = not isinstance(error, ModuleNotFoundError)
        return Description(name, missing=f"{how}: {format_error(error)}", failed=failed)


def _info(implementation: Implementation, version: str | None) -> ImplementationInfo:
    i = implementation
    return ImplementationInfo(
        name=i.name, formula=i.formula, package=i.package, version=version, row_by_row=i.row_by_row,
        modes=tuple(i.modes),
        quantities=i.quantities, plain_modes=tuple(i.plain_modes), devices=i.devices, reduces=i.reduces,
        problem=i.problem, convention=i.convention, on_request=i.on_request, traced=i.traced,
    )  # fmt: skip


def version_of(package: str) -> str | None:
    """Return the version of an import package, whose distribution may have another name (tensorflow-cpu)."""
    distribution = distribution_of(package)
    return None if distribution is None else installed_version(distribution)


@_read_once
def installed_version(distribution: str) -> str:
    """Return the version of a distribution.

    Raises:
        metadata.PackageNotFoundError: if it is not installed.
    """
    return metadata.version(distribution)


@_read_once
def distribution_of(package: str) -> str | None:
    """Return the distribution that holds an import package; of several, the one with the same name."""
    try:
        # Most distributions have the package's name. Only for others are all distributions read, in each new worker.
        own = metadata.distribution(package)
        if _holds(own, package):
            return own.name
    except metadata.PackageNotFoundError:
        pass
    found = _all_that_hold(package)
    return next((name for name in found if canonicalize_name(name) == package), found[0]) if found else None


@cache
def _all_that_hold(package: str) -> tuple[str, ...]:
    return tuple(distribution.name for distribution in metadata.distributions() if _holds(distribution, package))


def _holds(distribution: metadata.Distribution, package: str) -> bool:
    """Return whether a distribution holds an import package.

    `importlib.metadata.packages_distributions` builds a path for each installed file and takes ten times as long.
    """
    listed = distribution.read_text("top_level.txt")
    if listed is not None:
        return package in listed.split()
    record = distribution.read_text("RECORD") or ""
    return re.search(rf"^{re.escape(package)}(/|\.([^/,]*\.)?(py|so|pyd),)", record, re.MULTILINE) is not None
