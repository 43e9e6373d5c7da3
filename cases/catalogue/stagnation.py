"""Sums of exponentials that stop growing: terms too small to be added one at a time, and too many to be left out."""

import math
from collections.abc import Iterator

import numpy as np

from ...core.formats import FORMATS
from .._case import Case, make

QUICK = "float32_257"
WIDTHS = (257, 2049)


def cases() -> Iterator[Case]:
    for fmt in FORMATS.values():
        small = math.log(fmt.unit_roundoff / 8)
        for classes in WIDTHS:
            others = np.full(classes - 1, small)
            yield make(
                f"stagnation/{fmt.name}_{classes}",
                f"{classes - 1} exponentials of an eighth of {fmt.name}'s unit roundoff beside a maximum: "
                "added to its 1 in that format each is lost, and with them the loss.",
                # The maximum before the others and behind them: added in order, the first sum stands still at 1.
                [np.append(0.0, others), np.append(others, 0.0), np.append(0.0, others)],
                [0, classes - 1, 1],
                tags=("threshold", fmt.name),
            )
    for classes in WIDTHS:
        harmonic = -np.log(np.arange(1.0, classes + 1.0))
        yield make(
            f"stagnation/harmonic_{classes}",
            f"The exponentials 1, 1/2, 1/3 to 1/{classes}, falling and rising: "
            "added from the largest in bfloat16, they never pass 5.0625.",
            [harmonic, harmonic[::-1]],
            [0, 0],
        )
