"""What is hard about a row, read off its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cases import WIDE_FROM
from ._rows import Rows

Mask = NDArray[np.bool_]

NEAR_ZERO = 0.1
LARGE = 80.0  # beyond it exp overflows float32 soon
FAR = 8.0  # a common offset, in spreads of the row


FEATURES = tuple(
    f"has {word}" for word in ("mask", "nan", "offset", "large", "near zero", "ties", "last", "wide", "layout")
)


def features(rows: Rows) -> dict[str, Any]:
    """For each feature the rows (B,) that have it."""
    x = rows.logits.astype(np.float64)
    finite = np.isfinite(x)
    high = np.where(finite, x, -np.inf).max(axis=1, initial=-np.inf)
    low = np.where(finite, x, np.inf).min(axis=1, initial=np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        spread = np.maximum(high - low, 1.0)
        nearest = np.where(finite, np.abs(x), np.inf).min(axis=1, initial=np.inf)
        loss = rows.exact.loss.hi if rows.row_losses is None else rows.row_losses.hi
        return {
            "has mask": (x == -np.inf).any(axis=1),
            "has nan": np.isnan(x).any(axis=1) | _nan_from_above(rows),
            "has offset": np.isfinite(nearest) & (nearest > FAR * spread),
            "has large": np.isfinite(high) & (np.maximum(np.abs(high), np.abs(low)) > LARGE),
            "has near zero": (loss > 0) & (loss < NEAR_ZERO),
            "has ties": ((x == high[:, None]).sum(axis=1) > 1) & np.isfinite(high),
            "has last": rows.targets == rows.classes - 1,
            "has wide": np.full(len(rows), rows.classes >= WIDE_FROM),
            "has layout": np.full(len(rows), rows.layout != "rows"),
        }


def _nan_from_above(rows: Rows) -> Mask:
    return np.zeros(len(rows), bool) if rows.weights is None else np.isnan(rows.weights.astype(np.float64))
