"""Rows that the catalogue has no need of and a kernel has: widths about the sizes of tiles, every place a target."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..cases import Case, make

# Below, at and above the vectors and tiles that kernels divide a row into.
WIDTHS = (4, 7, 8, 9, 15, 16, 31, 32, 33, 63, 64, 65, 100, 255, 256, 511, 512, 513, 1023, 1024, 1025, 4096, 4097, 8193)
ROWS = 6
NARROW = 8  # up to this width every class is once the target, and once the largest


@cache
def extra_cases() -> tuple[Case, ...]:
    """Seeded normal rows of each width: the target first, last, anywhere, at the largest; two masked in part."""
    return tuple(_case(width) for width in WIDTHS)


def _case(width: int) -> Case:
    rng = np.random.default_rng(width)
    rows = ROWS if width > NARROW else 2 * width
    # Multiples of 1/32 are numbers of every dtype here, so that a row is the same in all of them.
    logits = np.round(rng.normal(scale=2.0, size=(rows, width)) * 32) / 32
    targets = rng.integers(width, size=rows)
    if width > NARROW:
        targets[:3] = 0, width - 1, logits[2].argmax()
        _mask(logits[-2:], targets[-2:], rng)
    else:
        targets[:] = np.tile(np.arange(width), 2)
        logits[np.arange(width, rows), np.arange(width)] = 8.0
    return make(f"check/width_{width}", f"Normal logits in {width} classes.", logits, targets, tags=("seeded",))


def _mask(logits: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> None:
    """Takes a first stretch of one row away, and half of another, all but the targets."""
    stretch = np.arange(logits.shape[1]) < logits.shape[1] // 2
    for row, gone, target in zip(logits, (stretch, rng.random(stretch.size) < 0.5), targets, strict=True):
        row[gone & (np.arange(row.size) != target)] = -np.inf
