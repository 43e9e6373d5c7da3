"""A program that forks runs and kills them, as the lines of JSON on its standard input say.

A fork of a process that has imported everything starts in milliseconds. Each line gets one line as the answer: the
run's exit code, or -9 if it was killed. A run is killed ``after`` some seconds, before its n-th ``step`` in the folder,
or with the n-th file ``torn`` as it is synchronized to the disk. Or the system refuses the n-th step with the error
``refused``, or refuses all files larger than ``largest``.

For several runs started ``together`` the answer lists every exit code.
"""

import json
import os
import resource
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from in_process import InThisProcess

from logitlab import runner
from logitlab.cases import select_cases
from logitlab.core.errors import UsageError
from logitlab.execution import environment, executors, registry

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def at_step(number: int, folder: str, do: Callable[[], None]) -> None:
    left = [number]

    def count(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if (writes or event in CHANGES) and str(arguments[0]).startswith(folder):
            left[0] -= 1
            if left[0] == -1:
                do()

    sys.addaudithook(count)


def refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


def die_with_a_torn_file(number: int) -> None:
    left, fsync = [number], os.fsync

    def torn(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            if left[0] == 0:
                os.ftruncate(descriptor, max(os.fstat(descriptor).st_size - 10, 0))
                die()
            left[0] -= 1
        fsync(descriptor)

    os.fsync = torn


def run(asked: dict) -> int:
    if not asked.get("workers"):
        executors.Local = InThisProcess
    folder = Path(asked["out"])
    if "step" in asked:
        at_step(asked["step"], str(folder), partial(refuse, asked["refused"]) if "refused" in asked else die)
    if "largest" in asked:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], asked["largest"]))
    if "torn" in asked:
        die_with_a_torn_file(asked["torn"])
    try:
        request = runner.Request(resume=asked["resume"], **asked["plan"])
        runner.execute(request, folder, warn=lambda line: print(line, file=sys.stderr))
    except UsageError as error:
        # The test reads the message from a file; standard error shows only what must not happen.
        folder.with_suffix(".error").write_text(str(error))
        return 2
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def forked(asked: dict) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(run(asked))
    return pid


def ended(pid: int, after: float | None) -> int:
    """Return the exit code of the process; kill it if it runs longer than `after`."""
    deadline = None if after is None else time.monotonic() + after
    while True:
        found, status = os.waitpid(pid, 0 if deadline is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = None
        time.sleep(0.001)


def main() -> None:
    registry.describe("numpy")
    environment.own_versions()
    select_cases()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        several = [forked(asked) for _ in range(asked.get("together", 1))]
        ends = [ended(pid, asked.get("after")) for pid in several]
        print(json.dumps(ends if "together" in asked else ends[0]), flush=True)


if __name__ == "__main__":
    main()
