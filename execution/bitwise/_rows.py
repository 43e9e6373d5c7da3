"""The rows whose bits are compared, and the calls that present them: each call is a list of these rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.bitwise import Property
from ...core.counting import count
from ...core.formats import Format

Index = NDArray[np.intp]

# A few classes, some hundred, a power of two, and the vocabulary of a language model.
WIDTHS = (5, 300, 4096, 50_257)
QUICK_WIDTHS = (5, 300, 50_257)
ROWS = 64  # of the batch that all others are compared with; as many other rows replace some of them
ALONE = (0, 1, 2, 6, 10, 31, 62, 63)  # the rows that are also called alone: all kinds, at both ends
LARGE = 2**19  # logits of a large batch, whose rows threads divide
THREADS = (1, 2, 4)
SEED = 21

# The lines of a program that make the same rows as `Rows.of`. Numbers of float32 are exact in float64 too.
# Of each four rows, the third has a loss of about ln 2, which shows the last bits of a sum over all classes.
LINES = (
    f"rng = np.random.Generator(np.random.Philox({SEED}))",
    f"logits = rng.standard_normal(({2 * ROWS}, classes), np.float32)",
    f"targets = rng.integers(classes, size={2 * ROWS})",
    f"logits[:{ROWS}] *= np.tile(np.float32([1, 4, 1, 30]), {ROWS // 4})[:, None]",
    f"logits[2:{ROWS}:4] -= np.float32(np.log(classes) + 0.5)",
    f"logits[np.arange(2, {ROWS}, 4), targets[2:{ROWS}:4]] = 0",
    f"logits[{ROWS}:] = logits[{ROWS}:] * 100 + 50",
    f"logits[{ROWS + 1}::2, 1 : classes // 2] = -np.inf",
    f"targets[{ROWS}:] = 0",
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Seeded rows: `ROWS` that are compared, and then as many that stand beside them.

    Attributes:
        logits: (128, C), in the dtype.
        targets: (128,), int64.
    """

    logits: NDArray[Any]
    targets: NDArray[np.int64]

    @classmethod
    def of(cls, classes: int, fmt: Format) -> Rows:
        """Return the rows of a width in a dtype."""
        rng = np.random.Generator(np.random.Philox(SEED))
        logits = rng.standard_normal((2 * ROWS, classes), np.float32)
        targets = rng.integers(classes, size=2 * ROWS)
        logits[:ROWS] *= np.tile(np.array([1, 4, 1, 30], np.float32), ROWS // 4)[:, None]
        logits[2:ROWS:4] -= np.float32(np.log(classes) + 0.5)
        logits[np.arange(2, ROWS, 4), targets[2:ROWS:4]] = 0
        logits[ROWS:] = logits[ROWS:] * 100 + 50
        logits[ROWS + 1 :: 2, 1 : classes // 2] = -np.inf
        targets[ROWS:] = 0
        return cls(logits.astype(fmt.dtype), targets)


@dataclass(frozen=True, eq=False)
class Presented:
    """One call: some rows in an order.

    Attributes:
        kind: what differs from the call that it is compared with; None for that call.
        rows: the rows by their numbers, in the order of the call.
        code: a NumPy expression of ``rows``.
        words: the call in words.
        threads: the number of threads; None for that of the process.
    """

    kind: Property | None
    rows: Index
    code: str
    words: str
    threads: int | None = None

    @property
    def alone(self) -> bool:
        """Whether the call has one row."""
        return len(self.rows) == 1


@dataclass(frozen=True)
class Plan:
    """The calls of a width.

    Attributes:
        rows: the rows of the batch that the others are compared with.
        max_rows: the most rows of a call; None for no limit.
        few_shapes: whether each shape is compiled, so that only a few batch sizes are called.
        large: whether a large batch is called too.
        threads: the numbers of threads that the process can be set to.
    """

    rows: int = ROWS
    max_rows: int | None = None
    few_shapes: bool = False
    large: bool = True
    threads: tuple[int, ...] = ()

    @property
    def base(self) -> Presented:
        """The batch that the others are compared with."""
        return Presented(None, np.arange(self.rows), f"np.arange({self.rows})", f"among {count(self.rows, 'row')}")

    @property
    def singles(self) -> tuple[Presented, ...]:
        """The rows that are also called alone."""
        chosen = [row for row in ALONE if row < self.rows]
        return tuple(Presented(Property.ALONE, np.array([row]), f"np.array([{row}])", "alone") for row in chosen)

    def others(self, classes: int) -> Iterator[Presented]:
        """Yield the calls but the base and the single rows, in the order of the properties."""
        n = self.rows
        every = np.arange(n)
        for size in (7,) if self.few_shapes else (2, 7):
            if size < n:
                yield _slice(0, size)
                yield _slice(n - size, n)
        size = LARGE // classes | 1
        if self.large and n < size <= (self.max_rows or size):
            words = f"in a batch of {count(size, 'row')}"
            yield Presented(Property.AMONG, np.arange(size) % n, f"np.arange({size}) % {n}", words)
        if n > 1:
            for by in (1, n // 2 + 1):
                code = f"np.roll(np.arange({n}), {by})"
                yield Presented(Property.POSITION, np.roll(every, by), code, f"{count(by, 'place')} further back")
            yield Presented(Property.POSITION, every[::-1], f"np.arange({n})[::-1]", "in the batch in reverse order")
            for odd in (0, 1):
                code = f"np.arange({n}) + {ROWS} * (np.arange({n}) % 2 == {odd})"
                rows = every + ROWS * (every % 2 == odd)
                yield Presented(Property.NEIGHBOURS, rows, code, "beside other rows")
        for threads in self.threads:
            for one in (self.base, *self.singles[2:5]):
                words = f"{one.words}, with {count(threads, 'thread')}"
                yield Presented(Property.THREADS, one.rows, one.code, words, threads)
        for one in (self.base, self.base, *self.singles[2:5]):
            yield Presented(Property.REPEATED, one.rows, one.code, f"{one.words}, again")


def _slice(start: int, stop: int) -> Presented:
    rows = np.arange(start, stop)
    return Presented(Property.AMONG, rows, f"np.arange({start}, {stop})", f"in a batch of {stop - start} rows")
