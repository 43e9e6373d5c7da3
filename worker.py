"""What runs inside a worker process: one framework is imported, described and called.

Nothing here imports pandas, the oracle or another framework: a worker holds its own framework and little else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from multiprocessing import connection, parent_process
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .formats import FORMATS
from .frameworks import Batch, Framework, Implementation
from .frameworks._stages import FORMULAS, Stage

if sys.platform == "linux":
    import fcntl

GROUP = "logitlab.frameworks"


@dataclass(frozen=True)
class Offer:
    """What a framework says of one of its implementations; ``version`` is None where its package is missing."""

    name: str
    formula: str
    package: str
    version: str | None
    modes: tuple[str, ...]
    quantities: tuple[str, ...] = ("loss",)
    plain_modes: tuple[str, ...] = ()
    devices: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Description:
    """What a framework says of itself; ``missing`` tells why it cannot be used, and is None where it can."""

    framework: str
    devices: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    missing: str | None = None
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a call gave: ``(quantity, array)`` pairs, then the fault that ended it, if any.

    One that was followed has ``stages`` instead, their values NumPy arrays with the batch's rows first.
    """

    values: tuple[tuple[str, NDArray[Any]], ...]
    lacking: tuple[str, ...] = ()
    status: str = "ok"
    detail: str = ""
    stages: tuple[Stage, ...] = ()


def prepare(log: str, variables: Mapping[str, str]) -> None:
    """Sets environment variables, flags beside those that are there, and sends what the framework prints to a file, so
    that it neither is lost nor disturbs the terminal. From here on the process ends when its parent does.
    """
    _end_with_parent()
    for name, value in variables.items():
        before = os.environ.get(name, "") if name.endswith("_FLAGS") else ""
        os.environ[name] = f"{before} {value}".strip()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _end_with_parent() -> None:
    """Ends this process as soon as its parent is no more, in the middle of a call too: a run that was killed leaves
    nothing behind that keeps cores and memory busy.
    """
    parent = parent_process()
    if parent is None:
        return
    if sys.platform == "linux":
        # Native code that holds the interpreter keeps the thread below waiting. The sentinel is a pipe that only the
        # parent can write to; when it closes, the kernel sends the signal by itself.
        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(parent.sentinel, fcntl.F_GETFL)
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


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
    return tuple(sorted({Entry(e.name, e.value, *_distribution(e.dist)) for e in found}))


def _distribution(found: metadata.Distribution | None) -> tuple[str, str]:
    return ("?", "?") if found is None else (found.name, found.version)


def describe(name: str) -> Description:
    """Imports the framework and asks it."""
    try:
        framework = load(name)
        offers = tuple(_offer(i) for i in framework.implementations)
        packages = {o.package: o.version for o in offers}
        versions = tuple((p, v) for p, v in packages.items() if v is not None)
        settings: Mapping[str, str] = getattr(framework, "settings", dict)()
        return Description(name, tuple(framework.devices()), offers, versions, settings=tuple(settings.items()))
    except ImportError as error:
        return Description(name, missing=f"cannot be imported: {_told(error)}")
    except Exception as error:  # another package's code: whatever it raises, the others still run
        return Description(name, missing=f"failed when it was imported: {_told(error)}")


def call(name: str, implementation: str, batch: Batch, device: str, mode: str) -> Outcome:
    """Evaluates one implementation on one batch; a fault keeps the quantities that came before it."""
    framework = load(name)
    chosen = next(i for i in framework.implementations if i.name == implementation)
    own = os.getpid()
    outcome = evaluated(framework, chosen, batch, device, mode)
    if os.getpid() != own:
        os._exit(0)  # a copy of this process that the framework forked would answer too
    return outcome


def evaluated(framework: Framework, chosen: Implementation, batch: Batch, device: str, mode: str) -> Outcome:
    """As `call`, of an implementation that need not be one of the framework's own."""
    values: list[tuple[str, NDArray[Any]]] = []
    refusal = batch.refusal(chosen)
    if refusal is not None:
        return Outcome((), chosen.quantities, "unsupported", f"{chosen.name} {refusal}")
    try:
        for quantity, array in framework.evaluate(chosen, batch, device, mode):
            values.append((quantity, _checked(quantity, np.asarray(array), batch)))
    except BaseException as error:  # SystemExit too: it costs this call and no other
        says_unsupported = isinstance(error, Exception) and (_no_such_option(error) or framework.unsupported(error))
        status, detail = ("unsupported" if says_unsupported else "raised"), _told(error)
    else:
        status, detail = "ok", ""
    given = {q for q, _ in values}
    lacking = tuple(q for q in chosen.quantities if q not in given)
    if lacking and status == "ok":
        status, detail = "raised", f"{framework.name} gave no {' and no '.join(lacking)}"
    return Outcome(tuple(values), lacking, status, detail)


def follow(name: str, implementation: str, batch: Batch, device: str) -> Outcome:
    """The stages of a written formula, evaluated eagerly; of a built-in, and where the framework brings no operations
    to follow a formula with, the quantities that it gives.
    """
    framework = load(name)
    chosen = next(i for i in framework.implementations if i.name == implementation)
    operations = getattr(framework, "operations", None)
    if chosen.formula not in FORMULAS or operations is None:
        outcome = call(name, implementation, batch, device, "eager")
        given = (Stage(_direction(q), q, q, "", "call", (), v) for q, v in outcome.values)
        return replace(outcome, values=(), stages=tuple(given))
    try:
        with operations.placed(device):
            x, t = operations.load(batch.logits, device), operations.load(batch.targets, device)
            done = FORMULAS[chosen.formula](operations, x, t)
            return Outcome((), stages=tuple(replace(s, value=operations.dump(s.value)) for s in done))
    except BaseException as error:  # as in call
        return Outcome((), (), "raised", _told(error))


def _direction(quantity: str) -> str:
    return "backward" if quantity == "gradient" else "forward"


def _no_such_option(error: Exception) -> bool:
    return isinstance(error, TypeError) and "unexpected keyword argument" in str(error)


@cache
def load(name: str) -> Framework:
    """The framework of this name, imported into this process."""
    found = {e.value: e for e in metadata.entry_points(group=GROUP, name=name)}
    if len(found) > 1:
        raise ImportError(f"{len(found)} packages offer it, as {' and '.join(sorted(found))}; uninstall all but one")
    (entry,) = found.values()
    framework: Framework = entry.load()
    return framework


def _offer(implementation: Implementation) -> Offer:
    i = implementation
    version, modes, plain_modes = _version(i.package), tuple(i.modes), tuple(i.plain_modes)
    return Offer(i.name, i.formula, i.package, version, modes, i.quantities, plain_modes, i.devices)


def _version(package: str) -> str | None:
    """The version of an import package, which may be distributed under another name (tensorflow-cpu)."""
    distributions: Sequence[str] = _distributions().get(package, ())
    return metadata.version(distributions[0]) if distributions else None


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _checked(quantity: str, array: NDArray[Any], batch: Batch) -> NDArray[Any]:
    rows, classes = batch.logits.shape
    whole = (rows,) if batch.reduction == "none" else ()
    expected = whole if quantity == "loss" else (rows, classes)
    if array.shape != expected:
        raise TypeError(f"{quantity} came with shape {array.shape}; expected {expected}")
    if array.dtype.name not in FORMATS:
        raise TypeError(f"{quantity} came with dtype {array.dtype}; expected one of {', '.join(FORMATS)}")
    return array


def _told(error: BaseException) -> str:
    """The error's kind and first words on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
