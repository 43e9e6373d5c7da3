"""The softmax tile by tile, as fused kernels compute it: a running maximum, and a running sum that is rescaled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._array import Rounded

Classes = NDArray[np.integer[Any]]


def online_softmax(x: Rounded) -> tuple[Rounded, Rounded]:
    """Return the maximum and the sum of exponentials below it, each (B, 1), of logits (B, C).

    For each tile the running maximum ``m`` becomes ``n``, and the running sum ``s`` becomes ``s * exp(m - n) + sum of
    exp(x - n)``. The sum stays in the accumulator until the last tile.
    """
    unit, tile = x.unit, x.unit.arithmetic.tile
    m, s = _of_tile(x[:, :tile], None)
    for start in range(tile, x.shape[1], tile):
        part = x[:, start : start + tile]
        n, added = _of_tile(part, m)
        factor = unit.exp((m - n).values)[:, 0]
        s = unit.add(unit.multiply(s, factor, unit.accumulator), added, unit.accumulator)
        m = n
    return m, Rounded(unit.narrowed(s)[:, None], unit)


def _of_tile(part: Rounded, running: Rounded | None) -> tuple[Rounded, NDArray[np.float64]]:
    """Return the maximum (B, 1) so far, and the sum (B,) of a tile in the accumulator."""
    unit, m = part.unit, part.max(axis=1, keepdims=True)
    if running is not None:
        m = Rounded(np.maximum(running.values, m.values), unit)
    return m, unit.accumulated(unit.exp((part - m).values))
