"""The ranks of a sharded loss: processes that this one starts, calls and ends."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ._messages import Answer, Fault, Join, Load, Task

START_SECONDS = 120.0  # the import of PyTorch from a cold disk may take a minute
CALL_SECONDS = 30.0  # the longest time of a call and of a collective
GRACE_SECONDS = 5.0  # the time that the other ranks have to end after one that raised
MAX_GROUPS = 50  # of one set of processes, which may keep threads and files of former groups
MAX_HANGS = 2  # after so many calls without an end, no further call is made
_MODULE = "logitlab.frameworks.sharded._rank"
# One thread each, as torchrun sets it: the ranks share the cores.
_VARIABLES = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Exceptions keep their type: a framework's adapter tells a lack of support by it.
_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (NotImplementedError, TypeError, ValueError, IndexError, AssertionError)
}


class RankError(RuntimeError):
    """A rank raised, died, or did not end in time."""


@dataclass(frozen=True, eq=False)
class _Rank:
    process: subprocess.Popen[bytes]
    connection: Connection


class Ranks:
    """Processes that each hold a part of the classes and talk through a gloo group.

    They start with the first call and end with this process: a rank exits when the connection to this process closes. A
    rank that raises costs its call. Its group is then renewed, without a new process. Ranks that die or hang are
    killed, and the next call starts new ones.

    Args:
        shards: the number of ranks.
        seconds: the longest time of a call.
    """

    def __init__(self, shards: int, seconds: float = CALL_SECONDS) -> None:
        self.shards = shards
        self._seconds = seconds
        self._ranks: list[_Rank] = []
        self._grouped = False
        self._loaded: set[str] = set()
        self._hangs = 0
        self._groups = self._all_groups = 0
        self._folder = tempfile.TemporaryDirectory(prefix="logitlab-ranks-")
        atexit.register(self.close)

    def ask(self, tasks: Sequence[Task], lines: str) -> list[Answer]:
        """Give each rank a task for the loss that the lines define, and return the answers.

        Raises:
            Exception: of a rank that raised, with its message; see `RankError`.
            RankError: if a rank died, or did not end in time.
        """
        if self._hangs >= MAX_HANGS:
            raise RankError(f"not called: {MAX_HANGS} calls before it did not end within {self._seconds:g} s")
        try:
            if not self._grouped and self._groups >= MAX_GROUPS:
                self._kill()
            if not self._ranks:
                self._start()
            if not self._grouped:
                self._join()
            if lines not in self._loaded:
                self._asked([Load(lines)] * self.shards, START_SECONDS)
                self._loaded.add(lines)
            return self._asked(tasks, self._seconds)
        except KeyboardInterrupt:
            self._kill()
            raise

    def close(self) -> None:
        """End the ranks; a later call starts new ones."""
        atexit.unregister(self.close)
        self._kill()
        self._folder.cleanup()

    def _start(self) -> None:
        for rank in range(self.shards):
            ours, theirs = Pipe()
            arguments = [str(n) for n in (rank, self.shards, theirs.fileno(), self._seconds)]
            with theirs:
                # Not from the current folder, where a file may have the name of a module; and no Ctrl-C reaches it.
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", _MODULE, *arguments],
                    stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=os.environ | _variables(),
                )  # fmt: skip
            self._ranks.append(_Rank(process, ours))

    def _join(self) -> None:
        self._groups += 1
        self._all_groups += 1
        path = str(Path(self._folder.name) / f"group-{self._all_groups}")
        self._asked([Join(path)] * self.shards, START_SECONDS)
        self._grouped = True

    def _asked(self, tasks: Sequence[Task], seconds: float) -> list[Answer]:
        for rank, task in zip(self._ranks, tasks, strict=True):
            with suppress(OSError):  # it has died, which `_collected` finds
                rank.connection.send(task)
        began = time.monotonic()
        answers = self._collected(seconds)
        faults = {number: answer for number, answer in answers.items() if isinstance(answer, Fault)}
        if not faults:
            return [answer for _, answer in sorted(answers.items()) if isinstance(answer, Answer)]
        self._grouped = False
        self._hangs += time.monotonic() - began >= seconds
        raise _exception(faults, self.shards)

    def _collected(self, seconds: float) -> dict[int, Answer | Fault]:
        """Return the answers by the number of the rank, in the order of their arrival.

        Raises:
            RankError: if a rank died, or if no rank raised and one did not end in time.
        """
        pending = {rank.connection: number for number, rank in enumerate(self._ranks)}
        answers: dict[int, Answer | Fault] = {}
        # A collective ends after these seconds too, with a message of its own.
        deadline = time.monotonic() + seconds + GRACE_SECONDS
        while pending:
            ready = wait(list(pending), max(0.0, deadline - time.monotonic()))
            if not ready:
                self._kill()
                if any(isinstance(answer, Fault) for answer in answers.values()):
                    return answers
                self._hangs += 1
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
                    code = self._ranks[number].process.wait(GRACE_SECONDS)
                    self._kill()
                    raise RankError(f"rank {number} died with exit code {code}") from None
                if isinstance(answers[number], Fault):
                    deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        return answers

    def _kill(self) -> None:
        for rank in self._ranks:
            rank.process.kill()
            rank.process.wait()
            rank.connection.close()
        self._ranks, self._grouped, self._groups = [], False, 0
        self._loaded.clear()


def _variables() -> dict[str, str]:
    # The ranks talk through the loopback: the name of this machine may have no address.
    interface = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    return _VARIABLES | ({} if interface is None else {"GLOO_SOCKET_IFNAME": interface})


def _named(numbers: Sequence[int] | object) -> str:
    each = sorted(numbers)  # type: ignore[call-overload]
    return f"rank{'s' if len(each) > 1 else ''} {', '.join(map(str, each))}"


def _exception(faults: dict[int, Fault], shards: int) -> Exception:
    """Return the exception of the rank that raised first; the others may have raised for the lack of that one."""
    number, first = next(iter(faults.items()))
    same = len(faults) == shards and len({*faults.values()}) == 1
    where = "every rank" if same else f"rank {number}"
    if first.kind in _KINDS:
        return _KINDS[first.kind](f"{where}: {first.message}")
    kind = "" if first.kind == "RuntimeError" else f"{first.kind}: "
    return RankError(f"{where}: {kind}{first.message}")
