"""The same numbers lying otherwise in memory, and targets of another integer type."""

from collections.abc import Iterator

import numpy as np

from .._case import LAYOUTS, Case, make

QUICK = "transposed"
LOGITS = [[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0], [0.0, 50.0, -50.0]]
TARGETS = [0, 2, 1, 2]
TOLD = {
    "rows": "one row after the other, the layout that the others are held against",
    "transposed": "stored column by column, as a transposed matrix is",
    "strided": "every second number of a wider array, as a slice is",
    "spatial": "the rows as positions of one image, the classes beside them",
}


def cases() -> Iterator[Case]:
    for layout in LAYOUTS:
        why = f"The article's batch {TOLD[layout]}."
        yield make(f"layout/{layout}", why, LOGITS, TARGETS, layout=layout)
        yield make(f"layout/{layout}_mean", why, LOGITS, TARGETS, layout=layout, reduction="mean")
    wide = np.linspace(-20.0, 20.0, 2 * 257).reshape(2, 257)
    for layout in LAYOUTS[1:]:
        yield make(
            f"layout/{layout}_257",
            f"Rows of 257 classes {TOLD[layout]}: vector loops meet strides and a remainder.",
            wide,
            [256, 0],
            layout=layout,
        )
    yield make(
        "layout/spatial_soft",
        "Class probabilities for each position of an image.",
        LOGITS,
        [[0.5, 0.25, 0.25]] * 4,
        layout="spatial",
    )
    yield make(
        "layout/spatial_ignored_mean",
        "Positions of an image, one of them ignored, as segmentation masks its borders.",
        LOGITS,
        [0, -100, 1, 2],
        layout="spatial",
        ignore_index=-100,
        reduction="mean",
    )
    yield make(
        "layout/int32_targets",
        "Targets of int32, which some losses take and some refuse.",
        LOGITS,
        np.array(TARGETS, np.int32),
    )
