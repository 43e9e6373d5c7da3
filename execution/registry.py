"""The frameworks that are installed, and what each says of itself; only the one asked for is imported."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from packaging.utils import canonicalize_name

from ..core.conventions import STANDARD, Convention
from ..core.errors import format_error
from ..frameworks import Framework, Implementation

GROUP = "logitlab.frameworks"


@dataclass(frozen=True)
class ImplementationInfo:
    """What a framework says of one of its implementations; ``version`` is None where its package is missing."""

    name: str
    formula: str
    package: str
    version: str | None
    modes: tuple[str, ...]
    quantities: tuple[str, ...] = ("loss",)
    plain_modes: tuple[str, ...] = ()
    devices: tuple[str, ...] | None = None
    reduces: bool = False
    convention: Convention = STANDARD


@dataclass(frozen=True)
class Description:
    """What a framework says of itself.

    Attributes:
        missing: why it cannot be used; None where it can.
        failed: whether it is missing though its packages are installed: its import failed, died or hung.
        distributions: for each of ``versions``, the distribution that holds the import package, as
            ``("paddle", "paddlepaddle")``.
    """

    framework: str
    devices: tuple[str, ...] = ()
    implementations: tuple[ImplementationInfo, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    missing: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    failed: bool = False
    distributions: tuple[tuple[str, str], ...] = ()


def names() -> tuple[str, ...]:
    """The frameworks there are, LogitLab's own and those of other packages, without importing any."""
    return tuple(sorted({e.name for e in metadata.entry_points(group=GROUP)}))


@dataclass(frozen=True, order=True)
class Entry:
    """Where a framework comes from; whatever is there is imported, and so run, when the framework is asked for."""

    framework: str
    value: str
    distribution: str
    version: str

    @property
    def foreign(self) -> bool:
        """Whether it is another package's than LogitLab."""
        return self.distribution != "logitlab"


def entries() -> tuple[Entry, ...]:
    """Where the frameworks that there are come from, without importing any."""
    found = metadata.entry_points(group=GROUP)
    packages = ((e, e.dist.name, e.dist.version) if e.dist is not None else (e, "?", "?") for e in found)
    return tuple(sorted({Entry(e.name, e.value, name, version) for e, name, version in packages}))


@cache
def load(name: str) -> Framework:
    """The framework of this name, imported into this process, which is made ready for measuring."""
    framework = imported(name)
    framework.prepare()
    return framework


@cache
def imported(name: str) -> Framework:
    """The framework of this name, imported into this process and nothing more."""
    found = {e.value: e for e in metadata.entry_points(group=GROUP, name=name)}
    if len(found) > 1:
        raise ImportError(f"{len(found)} packages offer it, as {' and '.join(sorted(found))}; uninstall all but one")
    (entry,) = found.values()
    framework = entry.load()
    if not isinstance(framework, Framework):
        raise ImportError(f"{entry.value} is a {type(framework).__name__}; expected a logitlab.frameworks.Framework")
    return framework


def describe(name: str) -> Description:
    """Imports the framework and asks it."""
    pid = os.getpid()
    description = _described(name)
    if os.getpid() != pid:
        os._exit(0)  # a copy of this process that the import forked would answer too
    return description


def _described(name: str) -> Description:
    try:
        framework = load(name)
        infos = tuple(_info(i) for i in framework.implementations)
        packages = {o.package: o.version for o in infos}
        versions = tuple((p, v) for p, v in packages.items() if v is not None)
        distributions = tuple((p, canonicalize_name(_distribution_of(p) or p)) for p, _ in versions)
        return Description(
            name, tuple(framework.devices()), infos, versions,
            settings=tuple(framework.settings().items()), distributions=distributions,
        )  # fmt: skip
    except BaseException as error:  # another package's code: whatever it raises, SystemExit too, the others still run
        how = "cannot be imported" if isinstance(error, ImportError) else "failed when it was imported"
        failed = not isinstance(error, ModuleNotFoundError)
        return Description(name, missing=f"{how}: {format_error(error)}", failed=failed)


def _info(implementation: Implementation) -> ImplementationInfo:
    i = implementation
    return ImplementationInfo(
        name=i.name, formula=i.formula, package=i.package, version=version_of(i.package), modes=tuple(i.modes),
        quantities=i.quantities, plain_modes=tuple(i.plain_modes), devices=i.devices, reduces=i.reduces,
        convention=i.convention,
    )  # fmt: skip


_distributions = cache(metadata.packages_distributions)


def version_of(package: str) -> str | None:
    """The version of an import package, which may be distributed under another name (tensorflow-cpu)."""
    try:
        # Most are distributed under their own name: looking through all that is installed takes a second.
        own = metadata.distribution(package)
        if package in (own.read_text("top_level.txt") or "").split():
            return own.version
    except metadata.PackageNotFoundError:
        pass
    distribution = _distribution_of(package)
    return None if distribution is None else metadata.version(distribution)


def _distribution_of(package: str) -> str | None:
    """The distribution that holds an import package; the one of its own name where several have a share in it."""
    found: Sequence[str] = _distributions().get(package, ())
    return next((d for d in found if canonicalize_name(d) == package), found[0]) if found else None
