"""What a loss does where it gets no grade: on an ignored row that has no softmax, and in a mean over nothing.

An ignored row counts nothing: its loss and its gradient are exactly 0, also where its logits are NaN or all ``-inf``.
A mean over nothing has no value, so that nothing it gives is right or wrong.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.vocabulary import Conduct, Reach

Array = NDArray[Any]


def conduct(values: Array) -> Conduct:
    """What one row's values are: its loss (), or the entries (C,) of its gradient; NaN stands before infinity."""
    v = np.asarray(values).astype(np.float64)
    if np.isnan(v).any():
        return Conduct.NAN
    if np.isinf(v).any():
        return Conduct.INFINITY
    return Conduct.NUMBER if (v != 0).any() else Conduct.ZERO


def describe_ignored_row(loss: Conduct | None, gradient: Conduct | None) -> str:
    """Two or three sentences on an ignored row; None for a quantity that the loss does not give."""
    return f"The row is ignored: its loss and its gradient are exactly 0. {_sentences(loss, gradient)}".strip()


def describe_empty_mean(loss: Conduct | None, gradient: Conduct | None) -> str:
    """Two or three sentences on the mean of a batch in which no row counts."""
    return f"No row counts: a mean over nothing has no value and no grade. {_sentences(loss, gradient)}".strip()


def describe_reach(reached: Reach) -> str:
    """One sentence on NaN that an ignored row let through."""
    return f"NaN from the ignored row reaches {reached}."


def _sentences(loss: Conduct | None, gradient: Conduct | None) -> str:
    given = (("The loss", loss), ("The gradient", gradient))
    return " ".join(f"{name} {found.wording}." for name, found in given if found is not None)
