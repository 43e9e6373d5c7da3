"""Seeded hidden states and weights as language models have them."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def layer(rows: int, hidden: int, classes: int, *, seed: int, spread: float = 1.0) -> tuple[Float64, Float64]:
    """Return normal hidden states (rows, hidden) and a normal weight (classes, hidden) with logits of scale ``spread``.

    Philox gives the same numbers on every machine, and a case's own seed leaves other cases as they are.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, hidden * 2**20 + classes]))
    states = generator.standard_normal((rows, hidden))
    weight = spread / np.sqrt(hidden) * generator.standard_normal((classes, hidden))
    return states, weight
