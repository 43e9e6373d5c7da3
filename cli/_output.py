"""Gathers the output of the user's code while a command runs, so that it does not mix with the progress."""

import faulthandler
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO, TextIO

MAX_READ = 2**24  # bytes of the output
MAX_LINES = 20  # distinct lines that are shown
_NUMBER = r"0x[0-9a-f]+|\d+"  # numbers differ from one message to the next


@dataclass
class Output:
    """The stream for the progress, which is not gathered, and ``text``, the gathered output at the end."""

    stream: TextIO
    text: str = ""

    def lines(self) -> Iterator[str]:
        """Yield each line of the gathered output once, with its number; lines that differ in numbers are equal."""
        first: dict[str, str] = {}
        number: Counter[str] = Counter()
        for line in filter(str.strip, self.text.splitlines()):
            kind = re.sub(_NUMBER, "#", line)
            first.setdefault(kind, line.rstrip())
            number[kind] += 1
        for kind, line in list(first.items())[:MAX_LINES]:
            yield line if number[kind] == 1 else f"{line} ({number[kind]:,} times)"
        if len(first) > MAX_LINES:
            yield f"and {len(first) - MAX_LINES:,} other lines"


@contextmanager
def gathered_output() -> Iterator[Output]:
    """Gather what this process prints, compiled code too. Nothing is gathered if its output is redirected in Python.

    If the process crashes, the Python stack is printed to the stream.
    """
    if not _prints_to_its_own_files():
        yield Output(sys.stderr)
        return
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8") as stream:
        found = Output(stream)
        enabled = faulthandler.is_enabled()
        if not enabled:
            faulthandler.enable(stream)
        try:
            with _redirected(1, file), _redirected(2, file):
                yield found
        finally:
            if not enabled:
                faulthandler.disable()
            file.seek(0)
            found.text = file.read(MAX_READ).decode(errors="replace")


def _prints_to_its_own_files() -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2
    return False


@contextmanager
def _redirected(number: int, file: BinaryIO) -> Iterator[None]:
    own = sys.stdout if number == 1 else sys.stderr
    own.flush()
    before = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        own.flush()
        os.dup2(before, number)
        os.close(before)
