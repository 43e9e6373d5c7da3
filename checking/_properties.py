"""Which property of a good loss broke: on how many of the rows that put it to the test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._rows import AGAIN, BETWEEN, CATALOGUED, EVERY_OTHER, SLICED, SUMMED, TWICE, UNTRACKED, WEIGHTED

Mask = NDArray[np.bool_]
Chosen = Callable[[pd.DataFrame], "pd.Series[bool]"]

KEYS = ["dtype", "case", "row", "quantity"]
COLUMNS = ("property", "dtype", "rows", "failed", "held")


def _how(*words: str) -> Chosen:
    return lambda lines: lines["how"].str.startswith(words)


def _has(feature: str) -> Chosen:
    # A row in another layout says little of what else it has.
    return lambda t: t[f"has {feature}"] & (t["how"] == CATALOGUED) & (~t["has layout"] | (feature == "layout"))


# Each with the lines that put it to the test.
PROPERTIES: dict[str, Chosen] = {
    "finite where the answer is": lambda t: t["expected_finite"].eq(True) & (t["how"] == CATALOGUED),
    "infinite where the answer is": lambda t: t["expected_finite"].eq(False) & ~t["has nan"] & (t["how"] == CATALOGUED),
    "NaN propagated": _has("nan"),
    "masks": _has("mask"),
    "large logits": _has("large"),
    "offset": lambda t: _has("offset")(t) | _how("a constant added")(t),
    "near-zero loss": _has("near zero"),
    "ties": _has("ties"),
    "last class": _has("last"),
    "large vocabularies": _has("wide"),
    "gradient is the loss's derivative": lambda t: (t["quantity"] == "gradient") & (t["how"] == CATALOGUED),
    "gradient passed on from above": _how(WEIGHTED, SUMMED),
    "the same without its gradient": _how(UNTRACKED),
    "calls independent of each other": _how(BETWEEN, TWICE),
    "rows independent of each other": _how("alone", "in two halves", "in a batch", "in a square batch"),
    "rows independent of their order": _how("rows in reverse"),
    "classes in any order": _how("classes permuted"),
    "right in every layout": lambda t: _how("transposed", "strided", SLICED, EVERY_OTHER)(t) | _has("layout")(t),
    "deterministic": _how(AGAIN),
}

# A row that is wrong in one way and right in the other depends on the way, whichever of them the catalogue's is; short
# of that the order of a sum moves the last digits.
EITHER_WAY = (
    "rows independent of each other",
    "rows independent of their order",
    "classes in any order",
    "right in every layout",
)


def properties(lines: pd.DataFrame, failed: Mask) -> pd.DataFrame:
    """For each property and dtype the lines that tried it, and those that failed: columns `COLUMNS`."""
    broke = {name: breaks(lines, failed, name) for name in PROPERTIES}
    found = []
    for dtype in pd.unique(lines["dtype"]):
        of_dtype = (lines["dtype"] == dtype).to_numpy()
        for name, chosen in PROPERTIES.items():
            tried = int((chosen(lines).to_numpy(bool) & of_dtype).sum())
            count = int((broke[name] & of_dtype).sum())
            found.append((name, dtype, tried, count, count == 0))
    return pd.DataFrame(found, columns=list(COLUMNS))


def breaks(lines: pd.DataFrame, failed: Mask, name: str) -> Mask:
    """The lines that say that the property is broken."""
    tries = PROPERTIES[name](lines).to_numpy(bool)
    tried = tries & failed
    if name == "finite where the answer is":
        return tried & lines["verdict"].isin(["nan", "overflow"]).to_numpy()
    if name == "gradient is the loss's derivative":
        return tried & ~_also_failed(lines, failed & (lines["quantity"] == "loss").to_numpy(), ["dtype", "case", "row"])
    if name == "deterministic":
        return tried  # other bits are other bits, whether the row is right or not
    # Presented in another way: it is that way's doing only where the row is right as the catalogue has it.
    plainly = (lines["how"] == CATALOGUED).to_numpy()
    broken = tried & (plainly | ~_also_failed(lines, failed & plainly, KEYS))
    if name in EITHER_WAY:
        wrong = failed & plainly & ~lines["grade"].eq("C").to_numpy()
        broken |= tries & ~failed & ~plainly & _also_failed(lines, wrong, KEYS)
    return broken


def _also_failed(lines: pd.DataFrame, failed: Mask, keys: list[str]) -> Mask:
    """Whether a line's row is among those that failed."""
    return pd.MultiIndex.from_frame(lines[keys]).isin(
        pd.MultiIndex.from_frame(lines.loc[failed, keys].drop_duplicates())
    )
