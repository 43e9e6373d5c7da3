"""The group of all rows of a format: the exact answer of a row of two classes follows from its gap."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...execution.plan import Group
from ...oracle import Exact, Reference, reference
from ._rows import Rows

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairGroup(Group):
    """Plain rows of two classes, many of which have the same gap."""

    @classmethod
    def of_rows(cls, rows: Rows) -> "PairGroup":
        """Return the group of all rows."""
        return cls(rows.cases(), rows.fmt)

    @cached_property
    def exact(self) -> Reference:
        x = self.logits.astype(np.float64)
        rows = np.arange(len(x))
        found = _by_gap(x[rows, self.targets], x[rows, 1 - self.targets], self.targets, np.abs(x).max(axis=1))
        return super().exact if found is None else found


def _by_gap(of_target: Float64, other: Float64, targets: NDArray[np.int64], size: Float64) -> Reference | None:
    """Return the reference of rows (N, 2) from that of their distinct gaps; None if a gap is not a float64.

    All fields are exact or rounded once, as those of `reference`, but the condition, which is rounded three times.
    """
    gap = of_target - other
    if not ((gap + other == of_target) & (of_target - gap == other)).all():
        return None
    distinct, where = np.unique(gap, return_inverse=True)
    one = reference(np.stack([distinct, np.zeros_like(distinct)], axis=1), np.zeros(len(distinct), np.int64))
    swapped = (targets == 1)[:, None]

    def entries(exact: Exact) -> Exact:
        return exact[where].joined(lambda values: np.where(swapped, values[:, ::-1], values))

    # Two equal logits have a gradient of 1/2 and a loss of ln 2.
    summed = np.where(distinct == 0, 1 / np.log(2), one.condition / np.where(distinct == 0, 1, np.abs(distinct)))
    return replace(
        one, loss=one.loss[where], probabilities=entries(one.probabilities), gradient=entries(one.gradient),
        condition=size * summed[where], defined=one.defined[where], mass=one.mass[where], sole_target=targets,
    )  # fmt: skip
