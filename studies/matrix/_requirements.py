"""Sets of requirements, and the extras and frameworks of LogitLab that they concern."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import NamedTuple, Self

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ...core.errors import UsageError
from ...execution import registry

# Extras that add implementations to a framework of another name.
FRAMEWORK_OF = {"scipy": "numpy", "wild": "torch"}


@dataclass(frozen=True)
class RequirementSet:
    """Requirements that are installed together.

    Attributes:
        requirements: as for pip, sorted.
    """

    requirements: tuple[str, ...]

    @classmethod
    def parse(cls, words: str) -> Self:
        """Parse text such as ``scipy==1.14.1 numpy<2.3``.

        Raises:
            UsageError: for a requirement that pip would reject.
        """
        if not words.split():
            raise UsageError(f"the requirements are {words!r}; give some, such as --with 'scipy==1.14.1'")
        return cls(tuple(sorted({str(_requirement(word)) for word in words.split()})))

    @property
    def packages(self) -> frozenset[str]:
        return frozenset(canonicalize_name(_requirement(r).name) for r in self.requirements)

    @property
    def folder(self) -> str:
        """A name for a folder, such as ``scipy-1.14.1``."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(self.requirements)).strip("-.")

    def __str__(self) -> str:
        return " ".join(self.requirements)


def parse_sets(given: Sequence[str]) -> tuple[RequirementSet, ...]:
    """Return at least two distinct sets, in the order given.

    Raises:
        UsageError: for fewer than two sets, a repeated set, or an invalid requirement.
    """
    sets = tuple(map(RequirementSet.parse, given))
    if len(sets) < 2:
        raise UsageError(
            f"expected at least two sets of requirements, and {len(sets)} is given; add one: --with 'scipy==1.14.1'"
        )
    folders = [s.folder for s in sets]
    for one, folder in zip(sets, folders, strict=True):
        if folders.count(folder) > 1:
            raise UsageError(f"two sets of requirements are equal up to punctuation: {one}; leave one out")
    return sets


class Scope(NamedTuple):
    """LogitLab's extras that the environments need, and the frameworks to run; an empty tuple means all frameworks."""

    extras: tuple[str, ...]
    frameworks: tuple[str, ...]


def scope(sets: Sequence[RequirementSet], wanted: Sequence[str]) -> Scope:
    """Return the extras that contain one of the packages and, if frameworks are ``wanted``, belong to one of them."""
    packages = {package for one in sets for package in one.packages}
    packages_of, frameworks = _packages_of_extras(), registry.names()
    known = {extra: name for extra in packages_of if (name := FRAMEWORK_OF.get(extra, extra)) in frameworks}
    extras = tuple(
        extra
        for extra, name in known.items()
        if (not wanted or name in wanted) and (packages & packages_of[extra] or extra in wanted)
    )
    return Scope(extras, tuple(wanted) or tuple(dict.fromkeys(known[extra] for extra in extras)))


def _packages_of_extras() -> dict[str, set[str]]:
    """Return LogitLab's extras with the packages of each."""
    found: dict[str, set[str]] = {}
    for text in metadata.requires("logitlab") or ():
        requirement = Requirement(text)
        marker = requirement.marker
        for extra in metadata.metadata("logitlab").get_all("Provides-Extra") or ():
            if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
                found.setdefault(extra, set()).add(canonicalize_name(requirement.name))
    return found


def _requirement(word: str) -> Requirement:
    try:
        return Requirement(word)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"{word!r} is not a requirement ({reason}); write it as for pip and without spaces, such as scipy==1.14.1"
        ) from error
