"""Sets of requirements: what is asked for, and which of LogitLab's extras and frameworks it concerns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ...core.errors import UsageError
from ...execution import registry

# Extras that add implementations to a framework of another name.
FRAMEWORK_OF = {"scipy": "numpy"}


@dataclass(frozen=True)
class RequirementSet:
    """Requirements that are installed together.

    Attributes:
        requirements: as pip takes them, sorted.
    """

    requirements: tuple[str, ...]

    @classmethod
    def parse(cls, words: str) -> RequirementSet:
        """From words such as ``scipy==1.14.1 numpy<2.3``.

        Raises:
            UsageError: for what pip would not take as a requirement.
        """
        if not words.split():
            raise UsageError("a set of requirements is empty; give some, such as --with 'scipy==1.14.1'")
        return cls(tuple(sorted({str(_requirement(word)) for word in words.split()})))

    @property
    def packages(self) -> frozenset[str]:
        return frozenset(canonicalize_name(_requirement(r).name) for r in self.requirements)

    @property
    def folder(self) -> str:
        """A name for a folder, as ``scipy-1.14.1``."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(self.requirements)).strip("-.")

    def __str__(self) -> str:
        return " ".join(self.requirements)


def parse_sets(given: Sequence[str]) -> tuple[RequirementSet, ...]:
    """Two sets or more, each other than the others, in their order.

    Raises:
        UsageError: for fewer than two, a set given twice, or what is no requirement.
    """
    sets = tuple(map(RequirementSet.parse, given))
    if len(sets) < 2:
        raise UsageError(f"{len(sets)} set of requirements given; give at least two, each with a --with of its own")
    folders = [s.folder for s in sets]
    for one, folder in zip(sets, folders, strict=True):
        if folders.count(folder) > 1:
            raise UsageError(f"the requirements {one} are given twice, or differ in signs alone; leave one of them out")
    return sets


def concerned(sets: Sequence[RequirementSet], wanted: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """LogitLab's extras that the environments need, and the frameworks to run; none stands for all that is there.

    An extra is needed if it has one of the packages named, and, where frameworks are ``wanted``, is of one of them.
    """
    packages = frozenset[str]().union(*(s.packages for s in sets))
    known = {extra: FRAMEWORK_OF.get(extra, extra) for extra in _extras()}
    known = {extra: framework for extra, framework in known.items() if framework in registry.names()}
    extras = tuple(
        extra
        for extra, framework in known.items()
        if (not wanted or framework in wanted) and (packages & _extras()[extra] or extra in wanted)
    )
    return extras, tuple(wanted) or tuple(dict.fromkeys(known[extra] for extra in extras))


def _extras() -> dict[str, frozenset[str]]:
    """LogitLab's extras with the packages of each."""
    found: dict[str, set[str]] = {}
    for words in metadata.requires("logitlab") or ():
        requirement = Requirement(words)
        for extra in metadata.metadata("logitlab").get_all("Provides-Extra") or ():
            if requirement.marker is not None and _only_with(requirement, extra):
                found.setdefault(extra, set()).add(canonicalize_name(requirement.name))
    return {extra: frozenset(names) for extra, names in found.items()}


def _only_with(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _requirement(word: str) -> Requirement:
    try:
        return Requirement(word)
    except InvalidRequirement as error:
        told = str(error).splitlines()[0]
        raise UsageError(
            f"{word!r} is no requirement ({told}); write as pip takes it, without spaces inside: scipy==1.14.1"
        ) from error
