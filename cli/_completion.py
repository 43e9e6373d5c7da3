"""The values that a shell completes: cases, frameworks, dtypes and implementations. No framework is imported."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata, resources

GROUP = "logitlab.frameworks"  # as in execution/registry.py, whose import takes longer than a key press should


def complete_cases(incomplete: str) -> list[str]:
    """Return the globs of families and the names of cases that start with the text."""
    from ..cases import all_cases

    names = [case.id for case in all_cases()]
    globs = dict.fromkeys(f"{name.partition('/')[0]}/*" for name in names)
    # All names at once would fill the screen: they follow after the slash.
    return _starting([*globs, *names] if "/" in incomplete else globs, incomplete)


def complete_case_names(incomplete: str) -> list[str]:
    """Return the names of cases that start with the text."""
    from ..cases import all_cases

    return _starting((case.id for case in all_cases()), incomplete)


def complete_frameworks(incomplete: str) -> list[str]:
    """Return the frameworks that start with the text, LogitLab's and other packages'."""
    return _starting(sorted({entry.name for entry in metadata.entry_points(group=GROUP)}), incomplete)


def complete_dtypes(incomplete: str) -> list[str]:
    """Return the four dtypes of training that start with the text."""
    from ..core.formats import FORMATS

    return _starting(FORMATS, incomplete)


def complete_formats(incomplete: str) -> list[str]:
    """Return the dtypes that start with the text, with the narrow ones."""
    from ..core.formats import FORMATS, NARROW

    return _starting([*FORMATS, *NARROW], incomplete)


def complete_implementations(incomplete: str) -> list[str]:
    """Return LogitLab's implementations that start with the text, also of frameworks that are not installed."""
    # The names are in the frameworks' modules, which import the frameworks; the file lists them.
    listed = resources.files(__package__).joinpath("implementations.txt").read_text(encoding="utf-8")
    return _starting(listed.split(), incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
