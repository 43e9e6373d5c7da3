"""What runs inside a worker process: one framework is imported, described and called.

Nothing here imports pandas, the oracle or another framework: a worker holds its own framework and little else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packaging.utils import canonicalize_name

from ..core.conventions import STANDARD, Convention
from ..core.formats import FORMATS
from ..frameworks import Batch, Framework, Implementation
from ..frameworks.stages import FORMULAS, Stage
from . import watchdog as guard
from ._process_state import State

GROUP = "logitlab.frameworks"
# The status of a call that a worker did not make, since the one before it was its last.
UNMADE = "unmade"
_MAX_MESSAGE = 5000  # characters of a message that are looked at


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


@dataclass(frozen=True)
class Outcome:
    """What a call gave: ``(quantity, array)`` pairs, then the fault that ended it, if any.

    One that was followed has ``stages`` instead, their values NumPy arrays with the batch's rows first. ``changed``
    names what the call changed in its process, and ``exhausted`` says that the process makes no more calls.
    """

    values: tuple[tuple[str, NDArray[Any]], ...]
    lacking: tuple[str, ...] = ()
    status: str = "ok"
    detail: str = ""
    stages: tuple[Stage, ...] = ()
    changed: tuple[str, ...] = ()
    exhausted: bool = False

    @property
    def message(self) -> str:
        """The detail, and what was changed."""
        changed = f"changed {', '.join(self.changed)}" if self.changed else ""
        return "; ".join(filter(None, (self.detail, changed)))


def prepare(log: str, variables: Mapping[str, str], memory: int) -> None:
    """Sets environment variables, flags beside those that are there, and sends what the framework prints to a file, so
    that it neither is lost nor disturbs the terminal. From here on the process is watched, and may take so many bytes
    of memory.
    """
    guard.keep_watch(Path(log), memory)
    global _own  # noqa: PLW0603 - a process is one worker at most
    _own = _Own(memory)
    for name, value in variables.items():
        before = os.environ.get(name, "") if name.endswith("_FLAGS") else ""
        os.environ[name] = f"{before} {value}".strip()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


@dataclass
class _Own:
    """Of a worker process: the bytes of memory it may take, the state its last call left, whether that was the last."""

    memory: int
    state: State | None = None
    exhausted: bool = False


_own: _Own | None = None


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
        settings: Mapping[str, str] = getattr(framework, "settings", dict)()
        return Description(
            name, tuple(framework.devices()), infos, versions,
            settings=tuple(settings.items()), distributions=distributions,
        )  # fmt: skip
    except ModuleNotFoundError as error:
        return Description(name, missing=f"cannot be imported: {_told(error)}")
    except ImportError as error:
        return Description(name, missing=f"cannot be imported: {_told(error)}", failed=True)
    except BaseException as error:  # another package's code: whatever it raises, SystemExit too, the others still run
        return Description(name, missing=f"failed when it was imported: {_told(error)}", failed=True)


def import_framework(name: str) -> str | None:
    """Imports the framework into this process; returns the message if that fails.

    A call imports it too, but under the time limit of calls.
    """
    try:
        load(name)
    except BaseException as error:  # as in describe
        return f"{name} cannot be imported: {_told(error)}"
    return None


def call(name: str, implementation: str, batch: Batch, device: str, mode: str) -> Outcome:
    """Evaluates one implementation on one batch; a fault keeps the quantities that came before it."""
    framework, chosen = _found(name, implementation)
    return _observed(framework, lambda: evaluated(framework, chosen, batch, device, mode))


def trace_stages(name: str, implementation: str, batch: Batch, device: str) -> Outcome:
    """The stages of a written formula, evaluated eagerly; of a built-in, and where the framework brings no operations
    to follow a formula with, the quantities that it gives.
    """
    framework, chosen = _found(name, implementation)
    return _observed(framework, lambda: _followed(framework, chosen, batch, device))


def _found(name: str, implementation: str) -> tuple[Framework, Implementation]:
    framework = load(name)
    return framework, next(i for i in framework.implementations if i.name == implementation)


def _observed(framework: Framework, work: Callable[[], Outcome]) -> Outcome:
    """The outcome of the work, and what it has changed in this worker; nothing more is done in one that was changed, or
    that has grown too much.
    """
    if _own is None:
        return work()
    if _own.exhausted:
        return Outcome((), status=UNMADE, exhausted=True)
    pid, settings = os.getpid(), getattr(framework, "settings", dict)
    before = _own.state or State(settings)
    outcome = work()
    if os.getpid() != pid:
        os._exit(0)  # a copy of this process that the framework forked would answer too
    _own.state = State(settings)
    changed = _own.state.changes(before)
    _own.exhausted = bool(changed) or guard.outgrown(_own.memory)
    return replace(outcome, changed=changed, exhausted=_own.exhausted)


def evaluated(framework: Framework, chosen: Implementation, batch: Batch, device: str, mode: str) -> Outcome:
    """As `call`, of an implementation that need not be one of the framework's own, in this very process."""
    values: dict[str, NDArray[Any]] = {}
    refusal = batch.refusal(chosen)
    if refusal is not None:
        return Outcome((), chosen.quantities, "unsupported", f"{chosen.name} {refusal}")
    status, detail = "ok", ""
    try:
        for quantity, array in framework.evaluate(chosen, batch, device, mode):
            if quantity not in chosen.quantities or quantity in values:
                again = " again" if quantity in values else f"; expected {', '.join(chosen.quantities)}"
                raise ValueError(f"{framework.name} gave {quantity!r}{again}")
            values[quantity] = _checked(quantity, array, batch)
    except BaseException as error:  # SystemExit too: it costs this call and no other
        status, detail = "unsupported" if _says_unsupported(framework, error) else "raised", _told(error)
    lacking = tuple(q for q in chosen.quantities if q not in values)
    if lacking and status == "ok":
        status, detail = "raised", f"{framework.name} gave no {' and no '.join(lacking)}"
    return Outcome(tuple(values.items()), lacking, status, detail)


def _followed(framework: Framework, chosen: Implementation, batch: Batch, device: str) -> Outcome:
    operations = getattr(framework, "operations", None)
    if chosen.formula not in FORMULAS or operations is None:
        outcome = evaluated(framework, chosen, batch, device, "eager")
        given = (Stage(_direction(q), q, q, "", "call", (), v) for q, v in outcome.values)
        return replace(outcome, values=(), stages=tuple(given))
    try:
        with operations.placed(device):
            x, t = operations.load(batch.logits, device), operations.load(batch.targets, device)
            done = FORMULAS[chosen.formula](operations, x, t)
            return Outcome((), stages=tuple(replace(s, value=operations.dump(s.value)) for s in done))
    except BaseException as error:  # as in evaluated
        return Outcome((), (), "raised", _told(error))


def _direction(quantity: str) -> str:
    return "backward" if quantity == "gradient" else "forward"


def _says_unsupported(framework: Framework, error: BaseException) -> bool:
    if not isinstance(error, Exception):
        return False
    try:
        return _no_such_option(error) or framework.unsupported(error)
    except Exception:  # an error that has no words
        return False


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


def _info(implementation: Implementation) -> ImplementationInfo:
    i = implementation
    version, modes, plain_modes = _version(i.package), tuple(i.modes), tuple(i.plain_modes)
    beside = (plain_modes, i.devices, i.reduces, i.convention)
    return ImplementationInfo(i.name, i.formula, i.package, version, modes, i.quantities, *beside)


def _version(package: str) -> str | None:
    """The version of an import package, which may be distributed under another name (tensorflow-cpu)."""
    distribution = _distribution_of(package)
    return None if distribution is None else metadata.version(distribution)


def _distribution_of(package: str) -> str | None:
    """The distribution that holds an import package; the one of its own name where several have a share in it."""
    found: Sequence[str] = _distributions().get(package, ())
    return next((d for d in found if canonicalize_name(d) == package), found[0]) if found else None


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _checked(quantity: str, array: Any, batch: Batch) -> NDArray[Any]:
    """A copy, since a framework may go on to write to what it gave."""
    rows, classes = batch.logits.shape
    whole = (rows,) if batch.reduction == "none" else ()
    expected = whole if quantity == "loss" else (rows, classes)
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(f"{quantity} came as {type(array).__name__}; expected a NumPy array")
    if array.shape != expected:
        raise TypeError(f"{quantity} came with shape {array.shape}; expected {expected}")
    if array.dtype.name not in FORMATS:
        raise TypeError(f"{quantity} came with dtype {array.dtype}; expected one of {', '.join(FORMATS)}")
    return np.array(array, FORMATS[array.dtype.name].dtype)


def _told(error: BaseException) -> str:
    """The error's kind and first words on one line, without what a terminal would take for commands."""
    try:
        words = str(error)[:_MAX_MESSAGE]
    except BaseException as another:  # the framework's code too
        words = f"it has no words: {type(another).__name__}"
    printable = "".join(c if c.isprintable() else " " for c in f"{type(error).__name__}: {words}")
    return " ".join(printable.split())[:500]
