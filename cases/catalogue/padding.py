"""Classes padded with a large negative number, which attention and vocabulary masks write where -inf is not safe."""

from collections.abc import Iterator

import numpy as np

from ...core.formats import FORMATS
from .._case import Case, make

QUICK = "float16_min_beyond"
TAGS = ("padding",)
# The values in real code: constants, and the most negative number of the expected dtype.
STAND_INS = {"1e4": -1e4, "1e9": -1e9, **{f"{name}_min": -FORMATS[name].largest for name in ("float16", "float32")}}
WIDTH, WORDS = 128, 100


def _scores(classes: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Between -4 and 4, in steps that every format holds."""
    return (37 * np.arange(classes) % 65) / 8.0 - 4.0


def cases() -> Iterator[Case]:
    for name, stand_in in STAND_INS.items():
        tail, head = _scores(WIDTH), _scores(WIDTH)
        tail[WORDS:] = stand_in
        head[:-WORDS] = stand_in
        yield make(
            f"padding/{name}",
            f"{WIDTH - WORDS} of {WIDTH} classes padded with {stand_in:.6g}, behind or before the others: "
            "none may count in the sum.",
            [tail, head],
            [WORDS - 1, WIDTH - 1],
            tags=TAGS,
        )
        yield make(
            f"padding/{name}_everywhere",
            f"Every class padded with {stand_in:.6g}: the loss is log 128, where a row of -inf has none.",
            np.full((1, WIDTH), stand_in),
            [0],
            tags=TAGS,
        )
        yield make(
            f"padding/{name}_on_target",
            f"The target padded with {stand_in:.6g}: the loss is about as large, where -inf makes it infinite.",
            [tail, head],
            [WIDTH - 1, 0],
            tags=TAGS,
        )
    largest = FORMATS["float16"].largest
    yield make(
        "padding/float16_min_beyond",
        "A target at float16's lowest number below a maximum of 16 or 15: a loss of 65,520 rounds to +inf there, and "
        "65,519 does not.",
        [[16.0, -largest, 0.0], [15.0, -largest, 0.0]],
        [1, 1],
        tags=TAGS,
    )
    yield make(
        "padding/1e9_added",
        "Scores with -1e9 added to each: float32 is spaced by 64 there and makes them ties, float64 keeps them.",
        [_scores(WIDTH) - 1e9],
        [WIDTH - 1],
        tags=TAGS,
    )
    both = np.full(WIDTH, -FORMATS["float16"].largest)
    both[WORDS:] = -np.inf
    yield make(
        "padding/beside_masks",
        "Padding in 100 classes and -inf in the rest: the padded ones share the softmax, and the loss is log 100.",
        [both],
        [0],
        tags=TAGS,
    )
    vocabulary = np.full(50257, -1e4)
    vocabulary[::5000] = _scores(11)
    yield make(
        "padding/vocabulary",
        "50,246 of 50,257 classes padded with -1e4: eleven terms of the sum are left.",
        [vocabulary],
        [50000],
        tags=TAGS,
    )
