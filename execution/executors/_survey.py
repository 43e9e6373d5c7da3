"""Surveys of the workers of a cluster: their packages, whether they agree, and the cells they can measure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ...storage.manifest import Hardware, Host
from ..plan import Cell
from ..registry import Description, ImplementationInfo

T = TypeVar("T")

# Each worker may have different devices of a machine, so these variables may differ.
_OWN_DEVICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
# The most differing workers that a message names.
MAX_NAMED = 5


@dataclass(frozen=True)
class Survey:
    """One worker's report on its hardware, packages, environment and frameworks."""

    address: str
    host: str
    hardware: Hardware
    versions: Mapping[str, str]
    variables: Mapping[str, str]
    frameworks: Mapping[str, Description]

    @property
    def name(self) -> str:
        return f"{self.host} ({self.address})"

    @property
    def packages(self) -> dict[str, str]:
        """The versions of Python, of LogitLab, of the packages it measures with, and of the frameworks' packages."""
        found = {"Python": self.hardware["python"], **self.versions}
        for described in self.frameworks.values():
            found |= dict(described.versions)
        return found

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that change numbers."""
        return {name: value for name, value in self.variables.items() if name not in _OWN_DEVICES}

    def can(self, cell: Cell) -> bool:
        """Return whether the worker has the cell's framework, implementation and device."""
        described = self.frameworks.get(cell.framework)
        if described is None or described.missing is not None:
            return False
        same = (
            o.name == cell.implementation.name and o.version == cell.implementation.version
            for o in described.implementations
        )
        return cell.device in described.devices and any(same)


def differences(of_each: Mapping[str, Mapping[str, str]], absent: str | None = None) -> list[str]:
    """Return a line for each key whose values differ: the most common value, and the workers with another.

    Args:
        of_each: the packages or variables of each worker, by its name.
        absent: the text for a missing key; if None, a missing key is not a difference.
    """
    found = []
    for key in sorted({key for own in of_each.values() for key in own}):
        known = {name: own.get(key, absent) for name, own in of_each.items()}
        values = {name: value for name, value in known.items() if value is not None}
        usual, _ = Counter(values.values()).most_common(1)[0]
        others = [f"{value} on {name}" for name, value in sorted(values.items()) if value != usual]
        if others:
            more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
            usually = _some([name for name, value in values.items() if value == usual])
            found.append(f"{key} is {usual} on {usually}, but {', '.join(others[:MAX_NAMED])}{more}")
    return found


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def together(frameworks: Sequence[str], surveys: Sequence[Survey]) -> dict[str, Description]:
    """Return one description of each framework, merged over all workers of the cluster."""
    return {name: _merged(name, [s.frameworks[name] for s in surveys if name in s.frameworks]) for name in frameworks}


def _merged(name: str, described: Sequence[Description]) -> Description:
    present = [d for d in described if d.missing is None]
    if not present:
        return described[0] if described else Description(name, missing="no worker has been asked for it")
    infos: dict[str, ImplementationInfo] = {}
    for info in (o for d in present for o in d.implementations):
        # A package that is missing on one worker may be installed on another.
        if info.name not in infos or infos[info.name].version is None:
            infos[info.name] = info
    return replace(
        present[0],
        devices=_unique(device for d in present for device in d.devices),
        implementations=tuple(infos.values()),
        versions=_unique(pair for d in present for pair in d.versions),
        distributions=_unique(pair for d in present for pair in d.distributions),
    )


def _unique(things: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(things))


def hosts(surveys: Iterable[Survey]) -> list[Host]:
    """Return the hosts for the manifest; identical workers of a host are one entry with their number."""
    found: list[Host] = []
    for survey in sorted(surveys, key=lambda s: (s.host, s.address)):
        present = {n: d for n, d in survey.frameworks.items() if d.missing is None}
        of_one: Host = {
            "host": survey.host,
            "hardware": survey.hardware,
            "versions": dict(survey.versions),
            "frameworks": {n: dict(d.versions) for n, d in present.items()},
            "devices": {n: list(d.devices) for n, d in present.items()},
            "settings": {n: dict(d.settings) for n, d in present.items()},
            "environment": dict(survey.variables),
            "workers": 1,
        }
        alike = next((f for f in found if {**f, "workers": 1} == of_one), None)
        if alike is None:
            found.append(of_one)
        else:
            alike["workers"] += 1
    return found
