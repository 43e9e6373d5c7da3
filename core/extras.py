"""The extras of LogitLab that bring nothing on this Python, since their packages have no wheel for it."""

import platform
from importlib import metadata

from packaging.requirements import Requirement


def left_out() -> tuple[str, ...]:
    """The names of these extras, read from what is installed of LogitLab."""
    extras = metadata.metadata("logitlab").get_all("Provides-Extra", ())
    brings: dict[str, bool] = {}
    for requirement in _requirements():
        for extra in extras:
            if _is_of(requirement, extra) and requirement.marker is not None:
                brings[extra] = brings.get(extra, False) or requirement.marker.evaluate({"extra": extra})
    return tuple(extra for extra, something in brings.items() if not something)


def notice(extra: str) -> str | None:
    """A line for an extra that brings nothing on this Python; None for another, or what is no extra."""
    if extra not in left_out():
        return None
    version = ".".join(platform.python_version_tuple()[:2])
    return f"{extra} has no wheel for Python {version}: not installed; everything else works"


def notices() -> list[str]:
    """Such a line for each extra that ``all`` would bring elsewhere."""
    of_all = {extra for r in _requirements() if r.name == "logitlab" and _is_of(r, "all") for extra in r.extras}
    return [line for extra in sorted(of_all) if (line := notice(extra)) is not None]


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires("logitlab") or ()]


def _is_of(requirement: Requirement, extra: str) -> bool:
    return f'extra == "{extra}"' in str(requirement.marker)
