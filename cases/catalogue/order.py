"""Sorted rows and awkward lengths, with the target in the last position."""

from collections.abc import Iterator

import numpy as np

from .._case import Case, make

QUICK = "ramp_5"
LENGTHS = (5, 17, 127, 257, 2049)


def cases() -> Iterator[Case]:
    for length in LENGTHS:
        ramp = np.linspace(-8.0, 8.0, length)
        yield make(
            f"order/ramp_{length}",
            f"{length} classes up and down, the target last: vector loops leave a remainder, and sums in order differ.",
            [ramp, ramp[::-1]],
            [length - 1, length - 1],
        )
    steep = np.linspace(-2000.0, 2000.0, 257)
    yield make(
        "order/steep_ascending",
        "Steeply ascending: an online maximum changes at every class and rescales its sum each time.",
        [steep],
        [256],
    )
    yield make(
        "order/steep_descending",
        "Steeply descending, the target last: the online maximum never changes and the target is the smallest.",
        [steep[::-1]],
        [256],
    )
    yield make(
        "order/maximum_last",
        "127 small terms before the maximum: summed in order they are rounded before they are rescaled.",
        [np.append(np.full(126, -9.0), 0.0)],
        [126],
    )
