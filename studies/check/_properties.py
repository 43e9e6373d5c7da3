"""Which property of a good loss broke: on how many of the rows that put it to the test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._options import OPTIONS
from ._presentation import CATALOGUED, Arrangement, CallKind, called_plainly

Mask = NDArray[np.bool_]
Chosen = Callable[[pd.DataFrame], "pd.Series[bool]"]

KEYS = ["dtype", "case", "row", "quantity"]
COLUMNS = ("property", "dtype", "rows", "failed", "held")


def _called(*calls: CallKind) -> Chosen:
    return lambda lines: lines["call"].isin(calls)


def _arranged(*arrangements: Arrangement) -> Chosen:
    return lambda lines: lines["call"].eq(CallKind.ONCE) & lines["arrangement"].isin(arrangements)


def _catalogued(lines: pd.DataFrame) -> pd.Series[bool]:
    return lines["how"] == str(CATALOGUED)


def _has(feature: str) -> Chosen:
    # A row in another layout says little of what else it has.
    return lambda t: t[f"has {feature}"] & _catalogued(t) & (~t["has layout"] | (feature == "layout"))


def _given(option: str) -> Chosen:
    def chosen(lines: pd.DataFrame) -> pd.Series[bool]:
        return lines["options"].isin([names for names in lines["options"].unique() if option in names.split(", ")])

    return chosen


_IN_MEMORY = (Arrangement.TRANSPOSED, Arrangement.STRIDED, Arrangement.SLICED, Arrangement.EVERY_OTHER)

# Each with the lines that put it to the test. "signs": no loss is below 0, and the gradient pushes the target up and
# the other classes down.
PROPERTIES: dict[str, Chosen] = {
    "finite where the answer is": lambda t: t["expected_finite"].eq(True) & _catalogued(t),
    "infinite where the answer is": lambda t: t["expected_finite"].eq(False) & ~t["has nan"] & _catalogued(t),
    "NaN propagated": _has("nan"),
    "masks": _has("mask"),
    "large logits": _has("large"),
    "offset": lambda t: _has("offset")(t) | _arranged(Arrangement.SHIFTED)(t),
    "near-zero loss": _has("near zero"),
    "ties": _has("ties"),
    "last class": _has("last"),
    "large vocabularies": _has("wide"),
    "gradient is the loss's derivative": lambda t: (t["quantity"] == "gradient") & _catalogued(t),
    "signs": lambda t: t["verdict"].notna() & _catalogued(t) & ~t["has layout"],
    "gradient passed on from above": _called(CallKind.WEIGHTED, CallKind.SUMMED),
    "the same without its gradient": _called(CallKind.UNTRACKED),
    "calls independent of each other": _called(CallKind.BETWEEN, CallKind.TWICE),
    "rows independent of their order": _arranged(Arrangement.REVERSED),
    "rows independent of each other": _arranged(
        Arrangement.ALONE, Arrangement.HALVES, Arrangement.LARGE, Arrangement.SQUARE
    ),
    "classes in any order": _arranged(Arrangement.PERMUTED),
    "right in every layout": lambda t: _arranged(*_IN_MEMORY)(t) | _has("layout")(t),
    "deterministic": _called(CallKind.AGAIN),
    "arguments left as they are": lambda t: t["how"].notna(),
} | {f"with {option}": _given(option) for option in OPTIONS}

_VERDICTS = {"finite where the answer is": ("nan", "overflow"), "signs": ("wrong_sign",)}  # those that break it

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
    posed = {f"with {option}" for options in pd.unique(lines["options"]) for option in options.split(", ")}
    tried_at_all = {name: PROPERTIES[name] for name in PROPERTIES if name in posed or not name.startswith("with ")}
    broke = {name: breaks(lines, failed, name) for name in tried_at_all}
    found = []
    for dtype in pd.unique(lines["dtype"]):
        of_dtype = (lines["dtype"] == dtype).to_numpy()
        for name, chosen in tried_at_all.items():
            tried = int((chosen(lines).to_numpy(bool) & of_dtype).sum())
            count = int((broke[name] & of_dtype).sum())
            found.append((name, dtype, tried, count, count == 0))
    return pd.DataFrame(found, columns=list(COLUMNS))


def breaks(lines: pd.DataFrame, failed: Mask, name: str) -> Mask:
    """The lines that say that the property is broken."""
    tries = PROPERTIES[name](lines).to_numpy(bool)
    # A loss that writes into its arguments may give what it should: no other property is broken by that.
    writes = lines["written"].notna().to_numpy(bool)
    if name == "arguments left as they are":
        return writes
    tried = tries & failed & ~writes
    if name in _VERDICTS:
        return tried & lines["verdict"].isin(_VERDICTS[name]).to_numpy()
    if name == "gradient is the loss's derivative":
        return tried & ~_also_failed(lines, failed & (lines["quantity"] == "loss").to_numpy(), ["dtype", "case", "row"])
    if name == "deterministic":
        return tried  # other bits are other bits, whether the row is right or not
    if name.startswith("with "):
        return tried & _blamed(lines, failed, name.removeprefix("with "))
    # Presented in another way: it is that way's doing only where the row is right as the catalogue has it.
    plainly = called_plainly(lines)
    broken: Mask = tried & (plainly | ~_also_failed(lines, failed & plainly, KEYS))
    if name in EITHER_WAY:
        wrong = failed & plainly & ~writes & ~lines["grade"].eq("C").to_numpy()
        broken |= tries & ~failed & ~plainly & _also_failed(lines, wrong, KEYS)
    return broken


def _blamed(lines: pd.DataFrame, failed: Mask, option: str) -> Mask:
    """Lines whose failure is the option's: of several options those that fail alone, or all where none does."""
    guilty = {o for o in lines.loc[failed, "options"].unique() if o in OPTIONS}
    blamed = [n for n in lines["options"].unique() if option in guilty or not guilty & set(n.split(", "))]
    return lines["options"].isin(blamed).to_numpy(bool)


def explaining(lines: pd.DataFrame, failed: Mask) -> str | None:
    """The property that says most of what fails; None where the rows that fail have nothing else in common.

    That is the harmonic mean of two shares: of the rows that fail in any way, those that break the property, and of
    the rows that put it to the test, those that break it. Every row tries what a verdict tells of: there the first
    share counts alone.
    """
    rows = lines.groupby(KEYS, sort=False).ngroup().to_numpy()
    pairs = pd.MultiIndex.from_frame(lines[["dtype", "quantity"]])
    concerned = pairs.isin(pairs[failed])
    plainly = called_plainly(lines)

    def score(tries: Mask, broken: Mask) -> float:
        count = len(np.unique(rows[tries & concerned])) + len(np.unique(rows[failed]))
        return 2 * len(np.unique(rows[broken])) / count if count else 0.0

    scores = {}
    for name, chosen in PROPERTIES.items():
        broken = breaks(lines, failed, name)
        scores[name] = score(broken if name in _VERDICTS else chosen(lines).to_numpy(bool), broken)
    # Every line tries this one; it is broken alone or not at all.
    writes = breaks(lines, failed, "arguments left as they are")
    scores["arguments left as they are"] = float(writes.any() and writes[failed].mean())
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0 and scores[best] >= score(plainly, failed & plainly) else None


def _also_failed(lines: pd.DataFrame, failed: Mask, keys: list[str]) -> Mask:
    """Whether a line's row is among those that failed."""
    return pd.MultiIndex.from_frame(lines[keys]).isin(
        pd.MultiIndex.from_frame(lines.loc[failed, keys].drop_duplicates())
    )
