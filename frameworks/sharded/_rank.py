"""One rank of a sharded loss: a process that answers the tasks of another one, which `_starter.py` starts.

Run as ``python -m logitlab.frameworks.sharded._rank RANK SHARDS CONNECTION SECONDS``.
"""

import inspect
import os
import queue
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from ...core.errors import format_error
from .._batch import in_layout
from .._torch_arrays import to_numpy, to_tensor
from ._messages import Answer, Array, Backward, Fault, Forward, Join, Leave, Load, Task

KEPT = 4  # calls whose computation is kept for a backward pass


class _Call:
    """A call of the loss: its arrays, their bits before the call, and the row losses."""

    def __init__(self, task: Forward) -> None:
        self.logits = to_tensor(in_layout(task.logits.copy(), task.layout), "cpu")
        self.targets = to_tensor(task.targets.copy(), "cpu")
        self._before = task.logits, task.targets
        self.rows: Tensor | None = None
        self.context: Callable[[], AbstractContextManager[Any]] = nullcontext

    def answer(self, values: Tensor) -> Answer:
        """Return the values, with the arguments that the loss has changed."""
        after = to_numpy(self.logits), to_numpy(self.targets)
        changed = [None if _equal(a, b) else a for a, b in zip(after, self._before, strict=True)]
        return Answer(np.array(to_numpy(values)), *changed)


class _Rank:
    def __init__(self, rank: int, shards: int, seconds: float) -> None:
        self._rank, self._shards, self._seconds = rank, shards, seconds
        self._losses: dict[str, Callable[..., Any]] = {}
        self._calls: dict[int, _Call] = {}

    def serve(self, connection: Connection) -> None:
        tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
        while True:
            task = tasks.get()
            if isinstance(task, Leave):
                _hang_up()
            else:
                connection.send(self._answered(task))

    def _answered(self, task: Task) -> Answer | Fault:
        try:
            return self._answer(task)
        except BaseException as error:  # SystemExit too: it costs only this call
            return Fault(type(error).__name__, _message(error))

    def _answer(self, task: Task) -> Answer:
        match task:
            case Join():
                return self._join(task.path)
            case Load():
                return self._load(task)
            case Forward():
                return self._forward(task)
            case Backward():
                return self._backward(task)
            case Leave():
                raise AssertionError("it has no answer")

    def _join(self, path: str) -> Answer:
        self._calls.clear()
        if dist.is_initialized():
            dist.destroy_process_group()
        dist.init_process_group(
            "gloo", init_method=f"file://{path}", rank=self._rank, world_size=self._shards,
            timeout=timedelta(seconds=self._seconds),
        )  # fmt: skip
        return Answer()

    def _forward(self, task: Forward) -> Answer:
        loss, call = self._losses[task.loss], _Call(task)
        call.context = getattr(loss, "context", nullcontext)
        call.logits.requires_grad_(task.tracked)
        keywords = _tensors(task.options) | _sizes(loss, task)
        with torch.set_grad_enabled(task.tracked), call.context():
            rows = loss(call.logits, call.targets, dist.group.WORLD, **keywords)
        if not isinstance(rows, Tensor):
            raise TypeError(f"the loss is {type(rows).__name__}; expected ({len(task.logits)},), one number a row")
        if task.tracked:
            call.rows = rows
            self._calls[task.number] = call
            for number in list(self._calls)[:-KEPT]:
                del self._calls[number]
        return call.answer(rows)

    def _backward(self, task: Backward) -> Answer:
        call = self._calls[task.number]
        if call.rows is None or not call.rows.requires_grad:
            raise RuntimeError("the loss has no gradient: it does not depend on the local logits")
        upstream = to_tensor(task.upstream, "cpu")
        with call.context():
            (gradient,) = torch.autograd.grad(call.rows, call.logits, upstream, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise RuntimeError("the loss has no gradient: it does not depend on the local logits")
        return call.answer(gradient)

    def _load(self, task: Load) -> Answer:
        os.chdir(task.folder)
        namespace: dict[str, Any] = {"__name__": "logitlab_sharded_loss"}
        exec(task.lines, namespace)  # noqa: S102 - the user's loss, as a program imports it
        self._losses[task.lines] = namespace["loss"]
        return Answer()


def _hang_up() -> None:
    """Shut the connections to other ranks, so that those that wait in a collective get an error at once.

    To destroy the group is not enough: DTensor and exceptions keep it. The pipe to the starting process is not TCP.
    """
    for connection in psutil.Process().net_connections("tcp"):
        if connection.status == psutil.CONN_ESTABLISHED and connection.fd >= 0:
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as shared:
                shared.shutdown(socket.SHUT_RDWR)


def _tensors(options: Mapping[str, Any]) -> dict[str, Any]:
    return {k: to_tensor(v, "cpu") if isinstance(v, np.ndarray) else v for k, v in options.items()}


def _sizes(loss: Callable[..., Any], task: Forward) -> dict[str, int]:
    """Return the sizes that the loss names: the number of all classes, and the index of the rank's first class."""
    sizes = {"classes": task.classes, "first_class": task.first}
    try:
        named = inspect.signature(loss).parameters
    except ValueError:  # a function without a readable signature
        return {}
    return {name: size for name, size in sizes.items() if name in named}


def _message(error: BaseException) -> str:
    """Return the message on one line, without the name of the type and addresses, which differ between ranks."""
    return re.sub(r"\b0x[0-9a-f]+", "0x...", format_error(error).removeprefix(f"{type(error).__name__}: "))


def _equal(one: Array, other: Array) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind != "i")


def _receive(connection: Connection, tasks: "queue.SimpleQueue[Task]") -> None:
    """Receive tasks in a thread, so that this process also ends in the middle of a call when the other one does."""
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


def main(arguments: Sequence[str]) -> None:
    """Answer the tasks of a connection until it closes."""
    rank, shards, handle = map(int, arguments[:3])
    _Rank(rank, shards, float(arguments[3])).serve(Connection(handle))


if __name__ == "__main__":
    main(sys.argv[1:])
