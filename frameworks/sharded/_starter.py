"""The process that starts the ranks of a sharded loss, and ends them.

Run as ``python -m logitlab.frameworks.sharded._starter SECONDS CONTROL CONNECTION...``, a connection for each rank.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

import numpy as np

_RANK = "logitlab.frameworks.sharded._rank"
# Whether a process may fork after it has imported PyTorch. On macOS each rank has to import it.
_ONE_IMPORT = sys.platform == "linux"


def _fork(rank: int, seconds: str, control: int, connections: Sequence[int]) -> int:
    """Start a rank and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for handle in (control, *connections):
            if handle != connections[rank]:
                os.close(handle)
        arguments = [*map(str, (rank, len(connections), connections[rank])), seconds]
        if not _ONE_IMPORT:
            os.execv(sys.executable, [sys.executable, "-P", "-m", _RANK, *arguments])  # noqa: S606
        np.random.seed()  # noqa: NPY002 - a loss may draw from it, on each rank other numbers
        importlib.import_module(_RANK).main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _attend(control: Connection, pids: dict[int, int]) -> NoReturn:
    """Answer with the exit code of each rank that is asked for; when the connection closes, end the others."""
    with suppress(EOFError, OSError):
        while True:
            _, status = os.waitpid(pids.pop(control.recv()), 0)
            control.send(os.waitstatus_to_exitcode(status))
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for pid in pids.values():
        os.waitpid(pid, 0)
    os._exit(0)  # to end PyTorch takes a part of a second


def main() -> None:
    """Start the ranks and wait for the process that asked for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all its processes
    control, *connections = map(int, sys.argv[2:])
    if _ONE_IMPORT:
        importlib.import_module(_RANK)
        with suppress(ImportError):  # PyTorch imports it, and SymPy, for the first gradient
            importlib.import_module("torch.fx.experimental.symbolic_shapes")
    pids = {rank: _fork(rank, sys.argv[1], control, connections) for rank in range(len(connections))}
    for handle in connections:
        os.close(handle)
    _attend(Connection(control), pids)


if __name__ == "__main__":
    main()
