"""The extras of LogitLab that install nothing on this Python, because their packages have no wheel for it."""

import platform
from importlib import metadata

from packaging.requirements import Requirement


def left_out() -> tuple[str, ...]:
    """Return the names of these extras, from the metadata of the installed LogitLab."""
    extras = metadata.metadata("logitlab").get_all("Provides-Extra", ())
    installs: dict[str, bool] = {}
    for requirement in _requirements():
        for extra in extras:
            if _is_of(requirement, extra) and requirement.marker is not None:
                installs[extra] = installs.get(extra, False) or requirement.marker.evaluate({"extra": extra})
    return tuple(extra for extra, anything in installs.items() if not anything)


def notice(extra: str) -> str | None:
    """Return a line about an extra that installs nothing on this Python, or None for any other name."""
    if extra not in left_out():
        return None
    version = ".".join(platform.python_version_tuple()[:2])
    return f"{extra} has no wheel for Python {version}: not installed; everything else works"


def notices() -> list[str]:
    """Return such a line for each extra of ``all`` that installs nothing on this Python."""
    of_all = {extra for r in _requirements() if r.name == "logitlab" and _is_of(r, "all") for extra in r.extras}
    return [line for extra in sorted(of_all) if (line := notice(extra)) is not None]


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires("logitlab") or ()]


def _is_of(requirement: Requirement, extra: str) -> bool:
    return f'extra == "{extra}"' in str(requirement.marker)
