"""Target weights of rows, and what a mean of rows divides by, in exact fractions; see `conventions`."""

from typing import Any

import numpy as np
from flint import fmpq
from numpy.typing import NDArray

from ..core.conventions import MeanDivisor, Weighting
from ..core.options import LossOptions

Float64 = NDArray[np.float64]


def rational(value: float) -> fmpq:
    """A float as the fraction that it is."""
    return fmpq(*float(value).as_integer_ratio())


def target_weights(t: Any, classes: int, options: LossOptions, weighting: Weighting) -> dict[int, fmpq]:
    """The non-zero ``q_j = w_j ((1 - s) y_j + s / C)`` of one row, exactly; or with their mean for ``w_j``."""
    own = {int(t): 1.0} if np.ndim(t) == 0 else {int(j): float(t[j]) for j in np.flatnonzero(t)}
    s, w = rational(options.label_smoothing), options.weight
    everywhere = range(classes) if s else own
    q = {j: (1 - s) * rational(own.get(j, 0.0)) + s / classes for j in everywhere}
    if w is not None:
        weighted = {j: b * rational(w[j]) for j, b in q.items()}
        of_row = sum(weighted.values(), fmpq(0))
        q = weighted if weighting is Weighting.CLASSES else {j: b * of_row for j, b in q.items()}
    return {j: b for j, b in q.items() if b}


def divisor_of_mean(
    t: NDArray[Any], w: Float64 | None, counted: NDArray[np.bool_], weights: list[dict[int, fmpq]], mean: MeanDivisor
) -> fmpq:
    """What a mean divides by, exactly; ``weights`` are those of `target_weights`, for each row."""
    rows = mean is MeanDivisor.ROWS or (mean is MeanDivisor.TARGET_WEIGHTS and t.ndim == 2)
    if rows or w is None:
        return fmpq(int(counted.sum()))
    if mean is MeanDivisor.TARGET_MASS:
        return sum((b for q in weights for b in q.values()), fmpq(0))
    return sum(map(rational, w[t[counted]].tolist()), fmpq(0))
