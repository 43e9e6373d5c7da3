"""The words to filter cases by: some a family gives, the others follow from what the case holds."""

from collections.abc import Iterator

import numpy as np

from ..core.formats import FORMATS
from ._case import Case

WIDE_FROM = 1000

# What a family says of its cases.
GIVEN = {
    "field": "reduced from a public report, which the source names",
    "near-zero": "a loss near zero, whose digits log(sum) drops, in one dtype or in all",
    "offset": "a common offset, which cancels in the answer",
    "padding": "classes padded with a large finite number",
    "seeded": "drawn from a seeded generator",
    "threshold": "made for a threshold of one format, which is a tag too",
    "tiles": "laid out for sums over tiles of classes",
    "trained": "the logits of a trained model",
    **{name: f"made for a threshold of {name}" for name in FORMATS},
}
# What can be read off the case itself.
SEEN = {
    "ignored": "an ignore_index is set",
    "invalid": "a target is none of the classes",
    "layout": "lies in memory otherwise than row after row",
    "logit-scale": "logits are multiplied by a factor, one over a temperature",
    "mask": "a logit of -inf",
    "mean": "reduced to a mean",
    "nan": "a NaN logit",
    "posinf": "a logit of +inf",
    "probabilities": "targets are class probabilities",
    "smoothing": "label smoothing",
    "softcap": "logits are capped by a tanh",
    "sum": "reduced to a sum",
    "weights": "class weights",
    "wide": f"{WIDE_FROM} classes or more",
    "z-loss": "the squared logsumexp is added to the loss",
}
TAGS = {**GIVEN, **SEEN}


def derived_tags(case: Case) -> Iterator[str]:
    """The tags of `SEEN` that hold for the case."""
    holds = {
        "ignored": case.ignore_index is not None,
        "invalid": case.invalid,
        "layout": case.layout != "rows",
        "logit-scale": case.logit_scale is not None,
        "mask": bool((case.logits == -np.inf).any()),
        "mean": case.reduction == "mean",
        "nan": bool(np.isnan(case.logits).any()),
        "posinf": bool((case.logits == np.inf).any()),
        "probabilities": case.targets.ndim == 2,
        "smoothing": case.label_smoothing != 0.0,
        "softcap": case.softcap is not None,
        "sum": case.reduction == "sum",
        "weights": case.weight is not None,
        "wide": case.classes >= WIDE_FROM,
        "z-loss": case.z_loss != 0.0,
    }
    return (tag for tag in SEEN if holds[tag])
