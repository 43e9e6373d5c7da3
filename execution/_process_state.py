"""Settings of a process that a call may change and leave changed, so that later calls would run differently."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping

import numpy as np

_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGHUP", "SIGFPE", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]
_MAX_SHOWN = 120  # characters of a value

# One value, or several by name.
Value = str | Mapping[str, str]


class ProcessState:
    """A snapshot of the settings that all calls of a process share.

    It holds the settings that the process can read and that a result may depend on, and the framework's settings.
    Inner variables of libraries are not included, since there is no list of them. A snapshot takes 0.1 ms.

    Args:
        settings: returns the framework's settings; see `frameworks.Framework.settings`.
    """

    def __init__(self, settings: Callable[[], Mapping[str, str]] = dict) -> None:
        self._modules = len(sys.modules)
        probes = {**_PROBES, "setting": settings}
        self._values = {name: _value(probe) for name, probe in probes.items()}
        self._by_imports = {name: _value(probe) for name, probe in _SET_BY_IMPORTS.items()}

    def changes(self, before: ProcessState) -> tuple[str, ...]:
        """Return a few words for each difference from an earlier snapshot.

        Settings that modules change on import are ignored if the call imported a module.
        """
        found = _differences(before._values, self._values)
        if self._modules == before._modules:
            found += _differences(before._by_imports, self._by_imports)
        return tuple(found)


def _value(probe: Callable[[], Value]) -> Value:
    try:
        return probe()
    except Exception as error:  # a setting that can no longer be read has changed
        return f"unknown, {type(error).__name__}"


def _differences(before: Mapping[str, Value], after: Mapping[str, Value]) -> list[str]:
    found = []
    for name, new in after.items():
        old = before[name]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            found += [f"{name} {key} from {_shown(old.get(key))} to {_shown(new.get(key))}" for key in keys]
        elif old != new:
            found.append(f"{name} from {_shown(old)} to {_shown(new)}")
    return found


def _shown(value: Value | None) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _rounding() -> str:
    """Return the processor's rounding mode, found from sums that lie between two numbers."""
    one, little = np.float64(1), np.float64(2.0**-60)
    if one + little > one:
        return "up"
    if -one - little < -one:
        return "down"
    return "to zero" if one - little < one else "to nearest"


def _subnormals() -> str:
    smallest_normal, subnormal = np.float64(sys.float_info.min), np.float64(5e-324)
    kept = "kept" if smallest_normal / 2 > 0 else "flushed to zero"
    return kept if subnormal * 2.0**100 > 0 else f"{kept}, taken as zero"


def _streams() -> str:
    return ", ".join(f"{f.st_dev}:{f.st_ino}" for f in map(os.fstat, (1, 2)))


_PROBES: dict[str, Callable[[], Value]] = {
    "rounding": _rounding,
    "subnormals": _subnormals,
    "NumPy's handling of": lambda: {kind: str(how) for kind, how in np.geterr().items()},
    "the working folder": os.getcwd,
    "the files that output and errors go to": _streams,
    "an alarm to come": lambda: str(hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0),
}
_SET_BY_IMPORTS: dict[str, Callable[[], Value]] = {
    "environment variable": lambda: dict(os.environ),
    "the filters of warnings": lambda: str([str(f) for f in warnings.filters]),
    "the handler of signal": lambda: {s.name: str(signal.getsignal(s)) for s in _SIGNALS},
}
