"""The properties of a good loss: which are broken, and by how many of the rows that test them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ....core.vocabulary import Quantity, Verdict
from ..batches._presentation import OTHER_MEMORY, Arrangement, CallKind
from ..forms._options import OPTIONS
from ..measuring._lines import Mask
from ._failures import KEYS, ROW, Failures

# Returns the lines that test a property. It combines masks, since an operation on the columns of a table takes longer.
Chosen = Callable[[Failures], Mask]
# Takes the failures, and the lines that test the property; returns those that break it.
Judge = Callable[[Failures, Mask], Mask]

COLUMNS = ("property", "dtype", "rows", "failed", "held")

# Properties that other modules use.
OFFSET = "offset"
COMPANY = "rows independent of each other"
ORDER = "rows independent of their order"
CLASSES = "classes in any order"
DETERMINISTIC = "deterministic"
LAYOUT = "right in every layout"
ARGUMENTS = "arguments left as they are"
SOFT = "soft targets"


def _called(*calls: CallKind) -> Chosen:
    return lambda found: found.lines["call"].isin(calls).to_numpy(bool)


def _arranged(*arrangements: Arrangement) -> Chosen:
    return lambda found: found.once & found.lines["arrangement"].isin(arrangements).to_numpy(bool)


def _column(found: Failures, name: str) -> Mask:
    """Return a column of True and False."""
    mask: Mask = found.lines[name].to_numpy(bool)
    return mask


def _has(feature: str) -> Chosen:
    # A row in another layout, or of one class, does not test its other features.
    def chosen(found: Failures) -> Mask:
        several: Mask = found.lines["classes"].to_numpy() != 1
        mask = _column(found, feature) & found.catalogued & several
        return mask if feature == "has_layout" else mask & ~_column(found, "has_layout")

    return chosen


def _given(option: str) -> Chosen:
    def chosen(found: Failures) -> Mask:
        options = found.lines["options"]
        given = [names for names in options.unique() if option in names.split(", ")]
        tried: Mask = options.isin(given).to_numpy(bool)
        # Batches with ignored NaN and infinities test another property.
        return tried & ~_column(found, "has_ignored")

    return chosen


def _only_so(found: Failures, tries: Mask) -> Mask:
    return tries & found.only_so


def _either_way(found: Failures, tries: Mask) -> Mask:
    """Return rows that are wrong in one presentation and right in the other, whichever is the catalogue's."""
    return tries & (found.only_so | (~found.failed & ~found.plainly & found.wrong_as_catalogued))


def _not_by_size(found: Failures, tries: Mask) -> Mask:
    """Return failures caused by the presentation, of dtypes in which no large batch fails for its size.

    A batch that follows one of another dtype has another size than the rest, to which a failure may be due.
    """
    lines = found.lines
    large = _only_so(found, _arranged(Arrangement.LARGE)(found))
    by_size = lines["dtype"].isin(lines.loc[large, "dtype"].unique()).to_numpy(bool)
    return _only_so(found, tries) & ~by_size


def _gradient_alone(found: Failures, tries: Mask) -> Mask:
    losses = found.failed & found.lines["quantity"].eq(Quantity.LOSS).to_numpy()
    return tries & found.unwritten & ~found.also(losses, ROW)


def _failed_rows(found: Failures, tries: Mask) -> Mask:
    return tries & found.unwritten


def _blamed(option: str) -> Judge:
    """Return a judge of failures due to the option: of several options, those that fail alone, or all if none does."""

    def judge(found: Failures, tries: Mask) -> Mask:
        lines = found.lines
        ordinary = found.failed & ~lines["has_ignored"].to_numpy(bool)
        guilty = {o for o in lines.loc[ordinary, "options"].unique() if o in OPTIONS}
        blamed = [n for n in lines["options"].unique() if option in guilty or not guilty & set(n.split(", "))]
        return _failed_rows(found, tries) & lines["options"].isin(blamed).to_numpy(bool)

    return judge


@dataclass(frozen=True)
class Property:
    """A property of a good loss.

    Attributes:
        tries: selects the lines that test it.
        judge: selects the lines that break it.
        verdicts: the verdicts that break it; empty for any.
        option: the loss option, or kind of targets, that it concerns; it is listed only if that was tried.
    """

    tries: Chosen
    judge: Judge = _only_so
    verdicts: tuple[Verdict, ...] = ()
    option: str | None = None

    def judged(self, found: Failures) -> tuple[Mask, Mask]:
        """Return the lines that test the property, and those that break it."""
        tried = self.tries(found)
        broken = self.judge(found, tried)
        if self.verdicts:
            broken = broken & found.lines["verdict"].isin(self.verdicts).to_numpy()
        return tried, broken

    def breaks(self, found: Failures) -> Mask:
        """Return the lines that break the property."""
        return self.judged(found)[1]


IN_MEMORY = (Arrangement.TRANSPOSED, Arrangement.STRIDED, *OTHER_MEMORY)
_IN_BATCHES = (Arrangement.ALONE, Arrangement.HALVES, Arrangement.LARGE, Arrangement.SQUARE, Arrangement.MIXED)


def _mixed_loss(found: Failures) -> Mask:
    """Return which lines are of the one loss of a batch with an infinite or NaN row loss."""
    return _arranged(Arrangement.MIXED)(found) & found.whole


def _infinite(found: Failures) -> Mask:
    """Return which lines have an infinite answer."""
    exact = found.lines["exact"].notna().to_numpy(bool)
    some = found.catalogued & ~_column(found, "has_nan") | _mixed_loss(found) & exact
    return some & found.lines["expected_finite"].eq(False).to_numpy(bool)


def _is(column: str, value: str | int) -> Chosen:
    """Return the lines of the catalogue's own presentation with a value in a column."""
    return lambda found: found.catalogued & found.lines[column].eq(value).to_numpy(bool)


# "signs": no loss is below 0, and the gradient pushes the target up and the other classes down.
PROPERTIES: dict[str, Property] = {
    "finite where the answer is": Property(_is("expected_finite", True), _failed_rows, (Verdict.NAN, Verdict.OVERFLOW)),
    "infinite where the answer is": Property(_infinite),
    "NaN propagated": Property(
        lambda found: _has("has_nan")(found) | (_mixed_loss(found) & found.lines["exact"].isna().to_numpy(bool))
    ),
    "masks": Property(_has("has_mask")),
    "large logits": Property(_has("has_large")),
    OFFSET: Property(lambda found: _has("has_offset")(found) | _arranged(Arrangement.SHIFTED)(found)),
    "near-zero loss": Property(_has("has_near_zero")),
    "ties": Property(_has("has_ties")),
    "one class": Property(_is("classes", 1)),
    "last class": Property(_has("has_last")),
    "large vocabularies": Property(_has("has_wide")),
    SOFT: Property(_has("has_soft"), option=SOFT),
    "gradient is the loss's derivative": Property(_is("quantity", Quantity.GRADIENT), _gradient_alone),
    "signs": Property(
        lambda found: found.lines["verdict"].notna().to_numpy(bool) & found.catalogued & ~_column(found, "has_layout"),
        _failed_rows,
        (Verdict.WRONG_SIGN,),
    ),
    "gradient passed on from above": Property(_called(CallKind.WEIGHTED, CallKind.SUMMED)),
    "the same without its gradient": Property(_called(CallKind.UNTRACKED, CallKind.INFERENCE)),
    "calls independent of each other": Property(_called(CallKind.BETWEEN, CallKind.TWICE)),
    "upstream gradients in any memory": Property(_called(CallKind.APART)),
    "int32 targets": Property(_called(CallKind.INT32)),
    "an empty batch": Property(_called(CallKind.EMPTY), _failed_rows),
    "under autocast": Property(_called(CallKind.AUTOCAST)),
    "under vmap and grad": Property(_called(CallKind.VMAP, CallKind.GRAD, CallKind.JVP)),
    "second derivatives": Property(_called(CallKind.SECOND)),
    "in two threads": Property(_called(CallKind.THREADS)),
    "dtypes independent of each other": Property(_called(CallKind.AFTER_DTYPE), _not_by_size),
    ORDER: Property(_arranged(Arrangement.REVERSED), _either_way),
    COMPANY: Property(lambda found: _arranged(*_IN_BATCHES)(found) & ~_mixed_loss(found), _either_way),
    CLASSES: Property(_arranged(Arrangement.PERMUTED), _either_way),
    LAYOUT: Property(lambda found: _arranged(*IN_MEMORY)(found) | _has("has_layout")(found), _either_way),
    "ignored rows have no effect": Property(
        lambda found: _column(found, "has_ignored"), _failed_rows, option="ignore_index"
    ),
    # Different bits count, correct or not.
    DETERMINISTIC: Property(_called(CallKind.AGAIN, CallKind.REPEATED), _failed_rows),
    ARGUMENTS: Property(
        lambda found: found.lines["how"].notna().to_numpy(bool),
        lambda found, tries: tries & found.failed & ~found.unwritten,
    ),
} | {f"with {option}": Property(_given(option), _blamed(option), option=option) for option in OPTIONS}


def properties(failures: Failures) -> pd.DataFrame:
    """Return for each property and dtype the number of lines that test it and that fail: columns `COLUMNS`."""
    lines = failures.lines
    given = {option for options in pd.unique(lines["options"]) for option in options.split(", ")}
    given |= {SOFT} if lines["has_soft"].any() else set()
    asked = {name: p for name, p in PROPERTIES.items() if p.option is None or p.option in given}
    judged = {name: p.judged(failures) for name, p in asked.items()}
    found = []
    for dtype in pd.unique(lines["dtype"]):
        of_dtype = lines["dtype"].eq(dtype).to_numpy()
        for name, (tried, broken) in judged.items():
            count = int((broken & of_dtype).sum())
            found.append((name, dtype, int((tried & of_dtype).sum()), count, count == 0))
    return pd.DataFrame(found, columns=list(COLUMNS))


def explaining(failures: Failures) -> str | None:
    """Return the property that best explains the failures; None if the failing rows share no property.

    The score of a property is the harmonic mean of two shares. The first is the share of the failing rows that break
    the property. The second is the share of the rows testing the property that break it. Every row tests a property
    with verdicts, so there only the first share counts.
    """
    lines, failed = failures.lines, failures.failed
    rows = lines.assign(case=failures.subjects).groupby(KEYS, sort=False).ngroup().to_numpy()
    pairs = pd.MultiIndex.from_frame(lines[["dtype", "quantity"]])
    concerned = pairs.isin(pairs[failed])
    plainly = failures.plainly

    def score(tries: Mask, broken: Mask) -> float:
        count = len(np.unique(rows[tries & concerned])) + len(np.unique(rows[failed]))
        return 2 * len(np.unique(rows[broken])) / count if count else 0.0

    scores = {}
    for name, property_ in PROPERTIES.items():
        tried, broken = property_.judged(failures)
        scores[name] = score(broken if property_.verdicts else tried, broken)
    # Every line tests this property, so it counts only if it explains the failures alone.
    writes = PROPERTIES[ARGUMENTS].breaks(failures)
    scores[ARGUMENTS] = float(writes.any() and writes[failed].mean())
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0 and scores[best] >= score(plainly, failed & plainly) else None
