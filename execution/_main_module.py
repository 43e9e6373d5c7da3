"""Keep the main module of this process out of the processes that it starts."""

import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

_lock = threading.Lock()


@contextmanager
def hidden_main() -> Iterator[None]:
    """Hide the main module while a process is started.

    A new process imports its parent's main module again. That would run a user's script a second time if it has no
    ``if __name__ == "__main__"``, and would import the script's frameworks into every worker.
    """
    with _lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class HidesMain:
    """The first base of a class of processes, which are started without the main module."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - multiprocessing's name
        # super() takes the first argument, the process: this is the method of its second base.
        with hidden_main():
            return super()._Popen(process_obj)  # type: ignore[misc]
