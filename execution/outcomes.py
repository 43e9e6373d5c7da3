"""Turn the future of a worker's task into its answer or its fault.

Errors are read from the future and not raised, since a SystemExit from another package would end this process.
"""

import signal
from concurrent.futures import Future
from concurrent.futures import TimeoutError as CallTimeoutError
from concurrent.futures.process import BrokenProcessPool

from pebble import ProcessExpired

from ..core.errors import format_error
from ..core.vocabulary import Status
from ._watchdog import TOO_MUCH_MEMORY
from .registry import Description
from .worker import Outcome

# Replaces the exit code 0 of a process that ended during a call; no process has this code.
EXITED = 256


def description(name: str, future: Future[Description], limit: float) -> Description:
    """Return the framework's description, or the reason why it is missing.

    ``limit`` is the time limit of the import in seconds.
    """
    error = future.exception()
    if error is None:
        return future.result()
    fault = _fault(error, f"did not finish importing within {limit:g} s", "its process died when it was imported")
    # The status is raised too if the description itself cannot be sent.
    how = "failed when it was imported: " if fault.status is Status.RAISED else ""
    return Description(name, missing=f"{how}{fault.detail}", failed=True)


def import_fault(framework: str, future: Future[str | None], limit: float) -> Outcome | None:
    """Return the outcome of all calls of a framework that cannot be imported; None if it was imported."""
    error = future.exception()
    if error is None:
        message = future.result()
        return None if message is None else Outcome(status=Status.RAISED, detail=message)
    late = f"{framework} did not finish importing within {limit:g} s"
    return _fault(error, late, f"the worker process died when it imported {framework}")


def ends_process(outcome: Outcome) -> bool:
    """Return whether the process of this outcome is dead or runs no further call."""
    return outcome.exhausted or outcome.status in (Status.CRASHED, Status.TIMEOUT)


def failed(error: BaseException, timeout: float) -> Outcome:
    """Return the outcome of a call whose future ended in an error."""
    return _fault(error, f"no answer within {timeout:g} s", "the worker process died")


def _fault(error: BaseException, late: str, died: str) -> Outcome:
    if isinstance(error, CallTimeoutError):
        return Outcome(status=Status.TIMEOUT, detail=late)
    if isinstance(error, ProcessExpired):
        return Outcome(status=Status.CRASHED, detail=f"{died} ({_exit(error)})")
    if isinstance(error, BrokenProcessPool):
        return Outcome(status=Status.CRASHED, detail=died)
    # An answer that cannot be sent back is a fault of this call only.
    return Outcome(status=Status.RAISED, detail=format_error(error))


def _exit(error: ProcessExpired) -> str:
    code = error.exitcode
    if code == TOO_MUCH_MEMORY:
        return "it exceeded its memory limit"
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {0 if code == EXITED else code}"
