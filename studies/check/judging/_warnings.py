"""The warnings of a loss, each once, with the number of times that it was raised."""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._wording import message_key


@dataclass(frozen=True)
class Warned:
    """A warning: its category and message on one line, the file and line that raise it, and how often."""

    message: str
    where: str
    count: int

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count:,} times"
        return f"{self.message} ({self.where}, {times})"


@dataclass
class Warnings:
    """The warnings of a block, gathered by `gathered_warnings`."""

    _count: Counter[tuple[str, str]] = field(default_factory=Counter)
    _first: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        """Count a warning; the arguments are those of `warnings.showwarning`."""
        text = f"{category.__name__}: {' '.join(str(message).split())}"
        kind = message_key(text), f"{Path(filename).name}:{lineno}"
        self._first.setdefault(kind, text)
        self._count[kind] += 1

    def each(self) -> tuple[Warned, ...]:
        """Return each warning once."""
        return tuple(Warned(self._first[kind], kind[1], count) for kind, count in self._count.items())


@contextmanager
def gathered_warnings() -> Iterator[Warnings]:
    """Gather the block's warnings in place of printing them. Filters of the user that ignore or raise stay in force."""
    found = Warnings()
    with warnings.catch_warnings():
        # The last of all filters: Python's own default shows a warning only the first time.
        warnings.simplefilter("always", append=True)
        warnings.showwarning = found.add  # type: ignore[assignment]
        yield found
