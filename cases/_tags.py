"""The words to filter cases by: a family sets some, and the others follow from the case."""

from collections.abc import Callable, Iterator

import numpy as np

from ..core.formats import FORMATS
from ._case import Case

WIDE_FROM = 1000

# Tags that a family sets.
GIVEN = {
    "field": "reduced from a public report, which the source names",
    "near-zero": "a loss near zero, whose digits log(sum) drops, in one dtype or in all",
    "offset": "a common offset, which cancels in the answer",
    "padding": "classes padded with a large finite number",
    "quick": "measured by `logitlab run --quick`, one of each family",
    "seeded": "drawn from a seeded generator",
    "threshold": "made for a threshold of one format, which is a tag too",
    "tiles": "laid out for sums over tiles of classes",
    "trained": "the logits of a trained model",
    **{name: f"made for a threshold of {name}" for name in FORMATS},
}
# Tags that follow from the case: a description, and whether it applies.
SEEN: dict[str, tuple[str, Callable[[Case], bool]]] = {
    "ignored": ("an ignore_index is set", lambda case: case.ignore_index is not None),
    "invalid": ("a target is out of range", lambda case: case.invalid),
    "layout": ("in memory other than row after row", lambda case: case.layout != "rows"),
    "logit-scale": (
        "logits are multiplied by a factor, one over a temperature",
        lambda case: case.logit_scale is not None,
    ),
    "mask": ("a logit of -inf", lambda case: bool((case.logits == -np.inf).any())),
    "mean": ("reduced to a mean", lambda case: case.reduction == "mean"),
    "nan": ("a NaN logit", lambda case: bool(np.isnan(case.logits).any())),
    "posinf": ("a logit of +inf", lambda case: bool((case.logits == np.inf).any())),
    "probabilities": ("targets are class probabilities", lambda case: case.targets.ndim == 2),
    "smoothing": ("label smoothing", lambda case: case.label_smoothing != 0.0),
    "softcap": ("logits are capped by a tanh", lambda case: case.softcap is not None),
    "sum": ("reduced to a sum", lambda case: case.reduction == "sum"),
    "weights": ("class weights", lambda case: case.weight is not None),
    "wide": (f"{WIDE_FROM} classes or more", lambda case: case.classes >= WIDE_FROM),
    "z-loss": ("the squared logsumexp is added to the loss", lambda case: case.z_loss != 0.0),
}
TAGS = {**GIVEN, **{tag: words for tag, (words, _) in SEEN.items()}}


def derived_tags(case: Case) -> Iterator[str]:
    """Return the tags of `SEEN` that apply to the case."""
    return (tag for tag, (_, holds) in SEEN.items() if holds(case))
