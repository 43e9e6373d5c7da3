"""Calls in several threads at the same time."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

ROUNDS = 5  # calls in each thread
SWITCH_SECONDS = 1e-5  # how often Python switches threads; by default only every 5 milliseconds


def at_the_same_time(calls: Sequence[Callable[[], Result]], rounds: int = ROUNDS) -> list[list[Result]]:
    """Call each function several times in its own thread, and return the results of each.

    The threads start each round together. The first exception of a call is raised.
    """
    start = threading.Barrier(len(calls))
    results: list[list[Result]] = [[] for _ in calls]
    errors: list[Exception] = []

    def run(call: Callable[[], Result], into: list[Result]) -> None:
        try:
            for _ in range(rounds):
                start.wait()
                into.append(call())
        except threading.BrokenBarrierError:
            pass  # another thread has raised
        except Exception as error:
            errors.append(error)
            start.abort()

    threads = [
        threading.Thread(target=run, args=pair, daemon=True) for pair in zip(calls, results, strict=True)
    ]  # fmt: skip
    with _switched_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return results


@contextmanager
def _switched_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
