"""References put together and taken apart, as the calls of a run need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ._answer import Exact, Reference, per_row


def without_answers(of_first_class: Reference) -> Reference:
    """Of a reference the softmax alone: where a target is none of the classes, nothing else is known."""

    def unknown(known: Exact) -> Exact:
        return Exact(np.full_like(known.hi, np.nan), np.zeros_like(known.lo))

    return replace(
        of_first_class,
        loss=unknown(of_first_class.loss),
        gradient=unknown(of_first_class.gradient),
        condition=np.full_like(of_first_class.condition, np.nan),
        defined=np.zeros_like(of_first_class.defined),
        sole_target=np.full_like(of_first_class.sole_target, -1),
    )


def stack_references(parts: Sequence[Reference]) -> Reference:
    """The references of batches of equal width, without a reduction, as one of all their rows."""
    if len(parts) == 1:
        return parts[0]
    return per_row(lambda *arrays: np.concatenate(arrays), *parts)
