"""The versions that govern an implementation, and their order."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

UNKNOWN = "unknown"


class Governing(NamedTuple):
    """A package that an implementation's results depend on, with its version."""

    package: str
    version: str


def governing(implementation: str, packages: Mapping[str, str], own: str = "") -> tuple[Governing, ...]:
    """Return the packages behind an implementation: its library first, then those that its framework is named after.

    ``jax/optax.softmax_cross_entropy`` depends on optax and jax, and ``keras-jax/losses...`` on keras and jax.

    Args:
        implementation: its name.
        packages: the versions of a run's packages.
        own: the implementation's version in the measurements table, for a framework of another name than its package.
    """
    framework, _, name = implementation.partition("/")
    library = name.partition(".")[0].partition("[")[0]
    named = dict.fromkeys((library, framework, *framework.split("-")))
    found = tuple(Governing(package, packages[package]) for package in named if package in packages)
    return found or (Governing(framework, own or UNKNOWN),)


def in_order(versions: Sequence[Governing]) -> tuple[tuple[bool, Version | str], ...]:
    """Return a key that sorts points by the versions of their packages; a version that cannot be parsed comes first."""
    return tuple(_rank(each.version) for each in versions)


def _rank(version: str) -> tuple[bool, Version | str]:
    try:
        return True, Version(version)
    except InvalidVersion:
        return False, version


def labels(points: Sequence[Sequence[Governing]]) -> list[str]:
    """Return a label for each point of one implementation: the packages whose version differs, or the first package."""
    seen: dict[str, set[str]] = {}
    for versions in points:
        for package, version in versions:
            seen.setdefault(package, set()).add(version)
    everywhere = [versions[0].package for versions in points]
    return [
        ", ".join(
            f"{package} {version}" for package, version in versions if len(seen[package]) > 1
        ) or f"{first} {versions[0].version}"
        for first, versions in zip(everywhere, points, strict=True)
    ]  # fmt: skip
