"""A common offset, which cancels exactly in the answer and not in the computation."""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "1e06"
OFFSETS = (1e2, 1e3, 4096.0, 1e4, 60000.0, 1e5, 1e6, 1e7, 1e10, 1e16, 1e20, 1e30, -1e2, -1e3, -1e4, -1e6, -1e10, -1e30)


def cases() -> Iterator[Case]:
    for offset in OFFSETS:
        yield make(
            f"offset/{offset:g}".replace("+", ""),
            f"A common offset of {offset:g}: added back to the log it leaves an error of u times {abs(offset):g}.",
            [[offset + d for d in row] for row in ((0.0, 1.0, 2.0, 3.0, -1.0), (0.0, 8.0, -8.0, 16.0, 4.0))],
            [1, 3],
            tags=("offset",),
        )
