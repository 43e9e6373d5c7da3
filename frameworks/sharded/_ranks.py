"""The ranks of a sharded loss: processes that this one starts, calls and ends."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ._messages import Answer, Fault, Forward, Join, Leave, Load, Task

START_SECONDS = 120.0  # the import of PyTorch from a cold disk may take a minute
CALL_SECONDS = 30.0  # the longest time of a call and of a collective
PATIENCE_SECONDS = 0.3  # after a rank raised, the others that still compute are taken to wait for it
GRACE_SECONDS = 5.0  # the time that they have to end when that rank has left them
MAX_GROUPS = 50  # of one set of processes, which may keep threads and files of former groups
MAX_HANGS = 2  # after so many calls without an end, no further call is made
_MODULE = "logitlab.frameworks.sharded._starter"
# One thread each, as torchrun sets it: the ranks share the cores.
_VARIABLES = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Exceptions keep their type, by which a framework's adapter recognizes a lack of support.
_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (NotImplementedError, TypeError, ValueError, IndexError, AssertionError)
}


class RankError(RuntimeError):
    """A rank raised, died, or did not end in time."""


@dataclass(frozen=True, eq=False)
class _Started:
    """The process that starts ranks, its connection, and one to each rank."""

    process: subprocess.Popen[bytes]
    control: Connection
    ranks: tuple[Connection, ...]

    @classmethod
    def new(cls, shards: int, seconds: float) -> _Started:
        with ExitStack() as stack:
            pipes = [Pipe() for _ in range(1 + shards)]
            handles = [stack.enter_context(theirs).fileno() for _, theirs in pipes]
            # Not from the current folder, where a file may have the name of a module; and no Ctrl-C reaches it.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(seconds), *map(str, handles)],
                stdin=subprocess.DEVNULL, pass_fds=handles, env=os.environ | _variables(),
            )  # fmt: skip
        control, *ranks = (ours for ours, _ in pipes)
        return cls(process, control, tuple(ranks))

    def exit_code(self, number: int) -> int:
        """Return the exit code of a rank that has died."""
        with suppress(EOFError, OSError):
            self.control.send(number)
            if self.control.poll(GRACE_SECONDS):
                return int(self.control.recv())
        return self.process.wait(GRACE_SECONDS)  # no rank has started

    def end(self) -> None:
        """End the ranks, and then the process that started them."""
        for connection in (self.control, *self.ranks):
            connection.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_SECONDS)
        self.process.kill()
        self.process.wait()


class Ranks:
    """Processes that each hold a part of the classes and talk through a gloo group.

    They start with the first call and end with this process: a rank exits when the connection to this process closes.
    On Linux one process imports PyTorch for all of them and forks.
    If all ranks raise the same, the call fails and nothing else changes. If some raise, they leave the group, which
    ends the collectives of the others, and all join a new group. Ranks that die or hang are killed, and the next call
    starts new ones. A call that fails in a new group otherwise than the one before is made again in new processes: a
    loss may have kept the former group.

    Args:
        shards: the number of ranks.
        seconds: the longest time of a call.
    """

    def __init__(self, shards: int, seconds: float = CALL_SECONDS) -> None:
        self.shards = shards
        self._seconds = seconds
        self._processes: _Started | None = None
        self._grouped = False
        self._loaded: set[str] = set()
        self._hangs: Counter[str] = Counter()  # by the lines of the loss
        self._before: str | None = None  # the message of the call before, if it cost the group
        self._started = 0.0
        self._groups = self._all_groups = 0
        self._folder = tempfile.TemporaryDirectory(prefix="logitlab-ranks-")
        atexit.register(self.close)

    def ask(self, tasks: Sequence[Task], lines: str) -> list[Answer]:
        """Give each rank a task for the loss that the lines define, and return the answers.

        Raises:
            Exception: of a rank that raised, with its message; see `RankError`.
            RankError: if a rank died, or did not end in time.
        """
        if self._hangs[lines] >= MAX_HANGS:
            raise RankError(f"not called: {MAX_HANGS} calls before it did not end within {self._seconds:g} s")
        before = self._before
        try:
            return self._tried(tasks, lines)
        except KeyboardInterrupt:
            self._kill()
            raise
        except Exception as error:
            if before in (None, str(error)) or not isinstance(tasks[0], Forward):
                raise
            self._kill()
            return self._tried(tasks, lines)

    def _tried(self, tasks: Sequence[Task], lines: str) -> list[Answer]:
        if not self._grouped and self._groups >= MAX_GROUPS:
            self._kill()
        if not self._grouped:
            self._join()
        if lines not in self._loaded:
            self._asked([Load(lines, str(Path.cwd()))] * self.shards, START_SECONDS)
            self._loaded.add(lines)
        began = time.monotonic()
        try:
            answers = self._asked(tasks, self._seconds)
        finally:
            self._hangs[lines] += time.monotonic() - began >= self._seconds
        self._before = None
        return answers

    def renew(self, since: float) -> None:
        """End ranks that started before a time, such as the last change of a module that they may have imported."""
        if self._started < since:
            self._kill()

    def close(self) -> None:
        """End the ranks; a later call starts new ones."""
        atexit.unregister(self.close)
        self._kill()
        self._folder.cleanup()

    def _join(self) -> None:
        self._groups += 1
        self._all_groups += 1
        path = str(Path(self._folder.name) / f"group-{self._all_groups}")
        self._asked([Join(path)] * self.shards, START_SECONDS)
        self._grouped = True

    def _asked(self, tasks: Sequence[Task], seconds: float) -> list[Answer]:
        if self._processes is None:
            self._started = time.time()
            self._processes = _Started.new(self.shards, self._seconds)
        for connection, task in zip(self._processes.ranks, tasks, strict=True):
            with suppress(OSError):  # it has died, which `_collected` finds
                connection.send(task)
        answers = self._collected(self._processes, seconds)
        faults = {number: answer for number, answer in answers.items() if isinstance(answer, Fault)}
        if not faults:
            return [answer for _, answer in sorted(answers.items()) if isinstance(answer, Answer)]
        error = _exception(faults, self.shards)
        if not _is_same(faults, self.shards):
            self._grouped, self._before = False, str(error)
        raise error

    def _collected(self, processes: _Started, seconds: float) -> dict[int, Answer | Fault]:
        """Return the answers by the number of the rank, in the order of their arrival.

        Raises:
            RankError: if a rank died, or if no rank raised and one did not end in time.
        """
        pending = {connection: number for number, connection in enumerate(processes.ranks)}
        answers: dict[int, Answer | Fault] = {}
        # A collective ends after these seconds too, with gloo's message.
        deadline, left = time.monotonic() + seconds + GRACE_SECONDS, False
        while pending:
            ready = wait(list(pending), max(0.0, deadline - time.monotonic()))
            raised = [number for number, answer in answers.items() if isinstance(answer, Fault)]
            if not ready and raised and not left:
                left, deadline = True, time.monotonic() + GRACE_SECONDS
                for number in raised:
                    processes.ranks[number].send(Leave())
                continue
            if not ready:
                self._kill()
                if raised:
                    return answers
                raise RankError(
                    f"{_named(pending.values())} did not end within {seconds + GRACE_SECONDS:g} s; "
                    "do all ranks call the same collectives?"
                )
            for connection in ready:
                assert isinstance(connection, Connection)  # noqa: S101 - for the type checker
                number = pending.pop(connection)
                try:
                    answers[number] = connection.recv()
                except (EOFError, OSError):
                    code = processes.exit_code(number)
                    self._kill()
                    raise RankError(f"rank {number} died with exit code {code}") from None
                if isinstance(answers[number], Fault) and not left:
                    deadline = min(deadline, time.monotonic() + PATIENCE_SECONDS)
        return answers

    def _kill(self) -> None:
        if self._processes is not None:
            self._processes.end()
        self._processes, self._grouped, self._groups, self._before = None, False, 0, None
        self._loaded.clear()


def _variables() -> dict[str, str]:
    # The ranks talk through the loopback: the name of this machine may have no address.
    interface = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    return _VARIABLES | ({} if interface is None else {"GLOO_SOCKET_IFNAME": interface})


def _named(numbers: Iterable[int]) -> str:
    each = sorted(numbers)
    return f"rank{'s' if len(each) > 1 else ''} {', '.join(map(str, each))}"


def _is_same(faults: dict[int, Fault], shards: int) -> bool:
    """Return whether all ranks raised the same, and so at the same place."""
    return len(faults) == shards and len({*faults.values()}) == 1


def _exception(faults: dict[int, Fault], shards: int) -> Exception:
    """Return the exception of the rank that raised first; the others may have raised for the lack of that one."""
    number, first = next(iter(faults.items()))
    where = "every rank" if _is_same(faults, shards) else f"rank {number}"
    if first.kind in _KINDS:
        return _KINDS[first.kind](f"{where}: {first.message}")
    kind = "" if first.kind == "RuntimeError" else f"{first.kind}: "
    return RankError(f"{where}: {kind}{first.message}")
