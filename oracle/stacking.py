"""References put together and taken apart, as the calls of a run need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .reference import Exact, Reference


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

    def joined(pick: Any) -> Exact:
        return Exact(np.concatenate([pick(p).hi for p in parts]), np.concatenate([pick(p).lo for p in parts]))

    return Reference(
        joined(lambda p: p.loss),
        joined(lambda p: p.probabilities),
        joined(lambda p: p.gradient),
        np.concatenate([p.condition for p in parts]),
        np.concatenate([p.defined for p in parts]),
        np.concatenate([p.mass for p in parts]),
        parts[0].scale,
        np.concatenate([p.sole_target for p in parts]),
    )
