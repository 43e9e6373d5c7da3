"""Normal hidden states and weights of all sizes: what a kernel's tiles and chunks have to get right."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from .._linear_case import make_linear
from ._layers import layer

QUICK = "h2_c3_s10"
# Rows, hidden size and classes. Powers of two, one less, one more: a tile with a remainder, or of one column.
SIZES = (
    (4, 1, 2), (4, 1, 1000), (4, 2, 3), (8, 16, 10), (8, 64, 100), (8, 63, 129), (8, 257, 65), (8, 256, 1000),
    (2, 1024, 257), (2, 4096, 64), (1, 8, 131_072), (2, 16, 50_257), (65, 32, 100),
)  # fmt: skip
SPREADS = (1.0, 10.0)
SPREAD_ALONE_UP_TO = 2**13  # numbers of a weight, up to which a case has both spreads


def cases() -> Iterator[Case]:
    for rows, hidden, classes in SIZES:
        for spread in SPREADS if hidden * classes <= SPREAD_ALONE_UP_TO or (hidden, classes) == (256, 1000) else [4.0]:
            states, weight = layer(rows, hidden, classes, seed=1, spread=spread)
            targets = (np.arange(rows) * 7 + 1) % classes
            yield make_linear(
                f"linear_sizes/h{hidden}_c{classes}" + f"_s{spread:g}" * (spread != 1.0),
                f"{rows} rows of {hidden} normal features and {classes} classes, with logits of scale {spread:g}.",
                states,
                weight,
                targets,
                tags=("seeded",),
            )
    states, weight = layer(65, 32, 100, seed=2)
    for reduction in ("mean", "sum"):
        yield make_linear(
            f"linear_sizes/rows_{reduction}",
            f"65 rows under a {reduction}: a mean divided in each chunk, or a short last chunk, shows here.",
            states,
            weight,
            np.arange(65) % 100,
            reduction=reduction,
            tags=("seeded",),
        )
