"""Run calls of one framework inside a worker process.

This module does not import pandas, the oracle or another framework, so that a worker stays small.
"""

import gc
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import format_error
from ..core.formats import FORMATS, NARROW
from ..core.threads import let_idle_threads_sleep
from ..core.vocabulary import Status
from ..frameworks import Batch, Framework, Implementation, LinearBatch
from ..frameworks.stages import Stage
from . import _watchdog as watchdog
from . import registry, variants
from ._process_state import ProcessState

# Bytes that a worker may grow before it drops its framework's programs, between batches of two dtypes or widths. JAX
# needs 0.2 MiB for each of the 1,700 programs of a dtype. Dropping them each time would make calls compile again.
PROGRAM_BYTES = 5 * 2**27
# New objects after which Python looks for unused cycles. Its default is 700 or 2,000, and one call of JAX creates more.
# A cycle may hold the arrays of a call, so the number is not larger.
COLLECT_EVERY = 5000
# Words of frameworks and their packages for a dtype that they do not have, do not convert, or have no kernel for.
_REFUSED_DTYPE = re.compile(
    "support|can't convert|unable to convert|allowed values|invalid dtype|while casting|promotion path|not implemented",
    re.I,
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The arguments of a call: an implementation and the batch that it evaluates."""

    framework: str
    implementation: str
    batch: Batch | LinearBatch
    device: str = "cpu"
    mode: str = "eager"


@dataclass(frozen=True)
class Outcome:
    """The ``(quantity, array)`` pairs that a call returned, the missing quantities, and the fault, if any.

    A traced call has ``stages`` instead; their values are NumPy arrays whose first axis is the batch's rows.
    ``changed`` lists the settings that the call changed in its process. ``exhausted`` means that the process runs no
    more calls. ``resident`` is the process's memory in bytes, 0 if it was not measured. A trial of bitwise invariance
    has only ``trial``, a `bitwise.Trial`.
    """

    values: tuple[tuple[str, NDArray[Any]], ...] = ()
    lacking: tuple[str, ...] = ()
    status: Status = Status.OK
    detail: str = ""
    stages: tuple[Stage, ...] = ()
    changed: tuple[str, ...] = ()
    exhausted: bool = False
    resident: int = 0
    trial: Any = None

    @property
    def failed(self) -> bool:
        """Whether the call raised, died or hung."""
        return self.status not in (Status.OK, Status.UNSUPPORTED)

    @property
    def message(self) -> str:
        """The detail and the list of changed settings."""
        changed = f"changed {', '.join(self.changed)}" if self.changed else ""
        return "; ".join(filter(None, (self.detail, changed)))


class ExhaustedError(Exception):
    """The process runs no more calls and did not run this one."""


def prepare(log: str, variables: Mapping[str, str], memory: int) -> None:
    """Prepare a worker process: start the watchdog, set the environment, and redirect output to the log.

    Flags are added to the existing value of a variable. Variables of one mode are unset in the workers of other modes.
    The redirect keeps the framework's output from the terminal.

    Args:
        log: the file for the framework's output.
        variables: environment variables.
        memory: the memory limit in bytes.
    """
    watchdog.keep_watch(Path(log), memory)
    global _this  # noqa: PLW0603 - a process is at most one worker
    _this = _Worker(memory)
    let_idle_threads_sleep()
    for name in variants.OF_ONE_MODE:
        os.environ.pop(name, None)
    for name, value in variables.items():
        before = os.environ.get(name, "") if name.endswith("_FLAGS") else ""
        os.environ[name] = f"{before} {value}".strip()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


@dataclass
class _Worker:
    """The memory limit of this process in bytes, and its state after the latest call.

    ``kind`` is the dtype and width of that call's logits. ``base`` is the process's memory in bytes when it last held
    no programs.
    """

    memory: int
    state: ProcessState | None = None
    exhausted: bool = False
    kind: tuple[str, int] | None = None
    base: int = 0

    def begin(self, framework: Framework, batch: Batch | LinearBatch) -> None:
        """Drop the programs of earlier kinds of batches, which the plan has finished, if they take much memory."""
        kind = batch.kind
        if kind == self.kind:
            return
        if self.kind is None:
            self.base = watchdog.resident()
        elif watchdog.resident() - self.base > PROGRAM_BYTES:
            framework.forget_programs()
            watchdog.return_freed_memory()
            self.base = watchdog.resident()
        self.kind = kind


_this: _Worker | None = None


def import_framework(name: str) -> str | None:
    """Import the framework into this process; return the message if that fails, else None.

    A call imports it too, but within the time limit of calls.
    """
    try:
        registry.load(name)
    except BaseException as error:  # as in `registry.describe`
        return f"{name} cannot be imported: {format_error(error)}"
    _collect_seldom()
    return None


def _collect_seldom() -> None:
    """Make Python look for unused cycles less often, and not among the objects of the framework's import.

    A framework's import creates a million objects, which stay. To look through them took a twentieth of the processor
    time of calls.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)


def call(given: Evaluation) -> Outcome:
    """Evaluate one implementation on one batch; quantities returned before a fault are kept."""
    return observed(given, evaluated)


def trace_stages(given: Evaluation) -> Outcome:
    """Return the stages of a formula, evaluated eagerly.

    A built-in, or a framework without operations, returns its quantities as stages.
    """
    return observed(given, _traced)


def observed(
    given: Evaluation, work: Callable[[Framework, Implementation, Batch | LinearBatch, str, str], Outcome]
) -> Outcome:
    """Return the outcome of the work with the settings that it changed in this process.

    After a change, or if the process has grown too much, it runs no more calls.

    Raises:
        ExhaustedError: if the process runs no more calls.
    """
    framework = registry.load(given.framework)
    chosen = framework.all_implementations[given.implementation]
    arguments = framework, chosen, given.batch, given.device, given.mode
    if _this is None:
        return work(*arguments)
    if _this.exhausted:
        raise ExhaustedError
    pid = os.getpid()
    _this.begin(framework, given.batch)
    before = _this.state or ProcessState(framework.settings)
    outcome = work(*arguments)
    if os.getpid() != pid:
        os._exit(0)  # a fork of this process, made by the framework, must not answer too
    _this.state = ProcessState(framework.settings)
    changed = _this.state.changes(before)
    resident = watchdog.resident()
    _this.exhausted = bool(changed) or watchdog.outgrown(_this.memory, resident)
    return replace(outcome, changed=changed, exhausted=_this.exhausted, resident=resident)


def evaluated(
    framework: Framework,
    chosen: Implementation,
    batch: Batch | LinearBatch,
    device: str,
    mode: str,
    fault: Callable[[BaseException], tuple[Status, str]] | None = None,
) -> Outcome:
    """Evaluate an implementation on a batch in this process; the implementation need not be one of the framework's.

    ``fault`` returns the status and the message of an exception; by default as in a run.
    """
    values: dict[str, NDArray[Any]] = {}
    expected = batch.quantities(chosen)
    refusal = batch.refusal(chosen)
    if refusal is not None:
        return Outcome(lacking=expected, status=Status.UNSUPPORTED, detail=f"{chosen.name} {refusal}")
    status, detail = Status.OK, ""
    try:
        given = _filled(framework, chosen, batch, mode)
        for quantity, array in _evaluate(framework, chosen, given, device, mode):
            if quantity not in expected or quantity in values:
                again = " again" if quantity in values else f"; expected {', '.join(expected)}"
                raise ValueError(f"{framework.name} returned {quantity!r}{again}")
            values[quantity] = _own_rows(_checked(quantity, array, given), batch)
    except BaseException as error:  # SystemExit too: it costs only this call
        narrow = batch.number_format.name not in FORMATS
        status, detail = _fault(framework, error, narrow=narrow) if fault is None else fault(error)
    lacking = tuple(q for q in expected if q not in values)
    if lacking and status is Status.OK:
        status, detail = Status.RAISED, f"{framework.name} returned no {' and no '.join(lacking)}"
    return Outcome(tuple(values.items()), lacking, status, detail)


def _evaluate(
    framework: Framework, chosen: Implementation, batch: Batch | LinearBatch, device: str, mode: str
) -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(batch, LinearBatch):
        return framework.evaluate_linear(chosen, batch, device, mode)
    return framework.evaluate(chosen, batch, device, mode)


def _traced(
    framework: Framework, chosen: Implementation, batch: Batch | LinearBatch, device: str, mode: str
) -> Outcome:
    try:
        with framework.placed(device):
            stages = None if isinstance(batch, LinearBatch) else _stages(framework, chosen, batch, device, mode)
            if stages is not None:
                return Outcome(
                    stages=tuple(replace(s, value=_own_rows(framework.to_numpy(s.value), batch)) for s in stages)
                )
    except BaseException as error:  # as in evaluated
        return Outcome(status=Status.RAISED, detail=_formatted(framework, error))
    outcome = evaluated(framework, chosen, batch, device, mode)
    return replace(outcome, values=(), stages=tuple(Stage.of_quantity(q, v) for q, v in outcome.values))


def _stages(
    framework: Framework, chosen: Implementation, batch: Batch, device: str, mode: str
) -> Iterator[Stage] | None:
    given = batch.filled() if framework.fills_up(chosen, batch, mode) else batch
    return framework.stages(chosen, given, device, mode)


def _filled(framework: Framework, chosen: Implementation, batch: Batch | LinearBatch, mode: str) -> Batch | LinearBatch:
    return batch.filled() if isinstance(batch, Batch) and framework.fills_up(chosen, batch, mode) else batch


def _own_rows(array: NDArray[Any], batch: Batch | LinearBatch) -> NDArray[Any]:
    """Return the array without the filler rows of the batch; a reduced value is returned unchanged."""
    return array[: batch.rows] if array.ndim and isinstance(batch, Batch) else array


def _fault(framework: Framework, error: BaseException, *, narrow: bool) -> tuple[Status, str]:
    refuses = _says_unsupported(framework, error, narrow=narrow)
    return Status.UNSUPPORTED if refuses else Status.RAISED, _formatted(framework, error)


def _formatted(framework: Framework, error: BaseException) -> str:
    return format_error(error, message_of=framework.message)


def _says_unsupported(framework: Framework, error: BaseException, *, narrow: bool) -> bool:
    if not isinstance(error, Exception):
        return False
    try:
        if narrow and _REFUSED_DTYPE.search(str(error)):
            return True
        no_such_option = isinstance(error, TypeError) and "unexpected keyword argument" in str(error)
        return no_such_option or framework.unsupported(error)
    except Exception:  # the error cannot be printed
        return False


def _checked(quantity: str, array: Any, batch: Batch | LinearBatch) -> NDArray[Any]:
    """Return a copy of the array, since the framework may write to it later.

    Raises:
        TypeError: for another type, shape or dtype than the quantity's.
    """
    expected = batch.shape_of(quantity)
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(f"{quantity} is a {type(array).__name__}; expected a NumPy array")
    if array.shape != expected:
        raise TypeError(f"{quantity} has shape {array.shape}; expected {expected}")
    fmt = FORMATS.get(array.dtype.name) or NARROW.get(array.dtype.name)
    if fmt is None:
        raise TypeError(f"{quantity} has dtype {array.dtype}; expected one of {', '.join([*FORMATS, *NARROW])}")
    return np.array(array, fmt.dtype)
