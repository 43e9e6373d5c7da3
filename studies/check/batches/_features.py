"""The features that make a row hard: masks, NaN, a common offset, large logits, a loss near zero, ties."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

NEAR_ZERO = 0.1
LARGE = 80.0  # near the overflow of exp in float32
FAR = 8.0  # the smallest common offset, in spreads of the row


class Features(NamedTuple):
    """The rows with each feature: arrays (B,). No feature depends on the order of a row's classes."""

    has_mask: Mask
    has_nan: Mask
    has_offset: Mask
    has_large: Mask
    has_near_zero: Mask
    has_ties: Mask

    @classmethod
    def of(cls, logits: NDArray[Any], losses: NDArray[np.float64]) -> Features:
        """Return the features of logits (B, C) with exact row losses (B,)."""
        x = logits.astype(np.float64)
        finite = np.isfinite(x)
        high = np.where(finite, x, -np.inf).max(axis=1, initial=-np.inf)
        low = np.where(finite, x, np.inf).min(axis=1, initial=np.inf)
        nearest = np.where(finite, np.abs(x), np.inf).min(axis=1, initial=np.inf)
        with np.errstate(invalid="ignore", over="ignore"):
            far = nearest > FAR * np.maximum(high - low, 1.0)
        return cls(
            has_mask=(x == -np.inf).any(axis=1),
            has_nan=np.asarray(np.isnan(x).any(axis=1)),
            has_offset=np.isfinite(nearest) & far,
            has_large=np.isfinite(high) & (np.maximum(np.abs(high), np.abs(low)) > LARGE),
            has_near_zero=(losses > 0) & (losses < NEAR_ZERO),
            has_ties=((x == high[:, None]).sum(axis=1) > 1) & np.isfinite(high),
        )

    def take(self, places: NDArray[np.intp]) -> Features:
        """Return the features of the rows at these indices."""
        return Features(*(mask[places] for mask in self))
