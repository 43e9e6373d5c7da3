"""A case: one batch of logits with its targets, and why it is here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..formats import FORMATS, Format, quantize, representable


@dataclass(frozen=True, eq=False)
class Case:
    """One batch of logits with targets and loss options.

    Attributes:
        family, name: together ``family/name``, unique in the catalogue.
        why: one sentence, what the case is hard for.
        logits: (B, C) float64, rounded to a dtype before anything is computed with them.
        targets: (B,) int64 class indices.
        reduction: ``none``, ``mean`` or ``sum``.
        source: the paper or public thread it comes from, if any.
        tags: words to filter by.
    """

    family: str
    name: str
    why: str
    logits: NDArray[np.float64]
    targets: NDArray[np.int64]
    reduction: str = "none"
    source: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.family}/{self.name}"

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    @property
    def rows(self) -> int:
        return int(self.logits.shape[0])

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that can hold the case: in the others a finite logit would become infinite."""
        return tuple(name for name, fmt in FORMATS.items() if representable(self.logits, fmt))

    def quantized(self, fmt: Format) -> NDArray[Any]:
        """The logits as the dtype holds them, (B, C) of that dtype."""
        return quantize(self.logits, fmt)


def make(
    case_id: str,
    why: str,
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    reduction: str = "none",
    source: str | None = None,
    tags: tuple[str, ...] = (),
) -> Case:
    """A case from plain lists, checked: a mistake in the catalogue shows when it is loaded.

    Raises:
        ValueError: if the shapes do not fit or a target is not a class.
    """
    x = np.array(logits, np.float64)
    t = np.array(targets, np.int64)
    if x.ndim != 2 or t.shape != x.shape[:1]:
        raise ValueError(f"{case_id}: logits {x.shape} and targets {t.shape} are not (B, C) and (B,)")
    if t.size and not (t.min() >= 0 and t.max() < x.shape[1]):
        raise ValueError(f"{case_id}: a target is not one of its {x.shape[1]} classes")
    x.flags.writeable = t.flags.writeable = False
    family, name = case_id.split("/")
    return Case(family, name, why, x, t, reduction, source, tags)
