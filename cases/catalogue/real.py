"""Logits of a real classifier on scikit-learn's digits, made by ``benchmarks/make_digits.py``."""

from collections.abc import Iterator
from importlib.resources import as_file, files

import numpy as np

from .._case import Case, make

QUICK = "digits_large"
STAGES = {
    "sane": "trained at a sane rate of 0.01: logits of a few units",
    "large": "trained at a rate of 10: logits in the thousands, the wrong answers losing by as much",
    "absurd": "trained at a rate of 1e5: logits in the millions, on the way to overflow",
}


def cases() -> Iterator[Case]:
    with as_file(files(__package__) / "digits.npz") as path, np.load(path, allow_pickle=False) as kept:
        for stage, training in STAGES.items():
            yield make(
                f"real/digits_{stage}",
                f"24 held-out digits under a softmax regression {training}.",
                kept[stage],
                kept["targets"],
                tags=("trained",),
            )
        yield make(
            "real/digits_large_mean",
            "The same batch as digits_large under the mean that training uses.",
            kept["large"],
            kept["targets"],
            reduction="mean",
            tags=("trained",),
        )
