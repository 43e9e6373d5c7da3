"""A batch with its exact answer and the standards that grade it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....cases import LinearCase
from ....core.formats import Format
from ....core.rounding import quantize
from ....core.vocabulary import Quantity
from ....grading import LinearStandards, Standard
from ....oracle import Exact, LinearReference
from ..forms._options import CallOptions

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Question:
    """A batch of the linear problem in one dtype.

    Attributes:
        case: the name of its case.
        fmt: the dtype.
        hidden: (B, H) as the dtype holds them, like the other arrays.
        weight: (C, H).
        bias: (C,), or None.
        targets: class indices (B,), or class probabilities (B, C).
        options: the loss options and the reduction.
        numbers: (B,), the number of each row in its case.
        parts: batches of some of its rows, by name, so that each is answered once.
    """

    case: str
    fmt: Format
    hidden: Array
    weight: Array
    bias: Array | None
    targets: Array
    options: CallOptions
    numbers: NDArray[np.int64]
    parts: dict[str, Question] = field(default_factory=dict, repr=False)
    _standards: dict[str, Standard] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, case: LinearCase, fmt: Format, plain: CallOptions) -> Question:
        """Return a case in a dtype; ``plain`` has the reduction that the loss always has."""
        reduction = plain if plain.announced else CallOptions(reduction=case.reduction)
        options = replace(reduction, values=dict(case.options(fmt)))
        targets = quantize(case.targets, fmt) if case.targets.ndim == 2 else case.targets.copy()
        return cls(case.id, fmt, *case.quantized_inputs(fmt), targets, options, np.arange(len(case.hidden)))

    @property
    def leaves(self) -> dict[str, Array]:
        """The arrays that the loss is differentiated by, by the names of its arguments."""
        given = {"hidden": self.hidden, "weight": self.weight, "bias": self.bias}
        return {name: array for name, array in given.items() if array is not None}

    @property
    def reduced(self) -> bool:
        return self.options.reduced

    @property
    def size(self) -> int:
        """The number of its numbers."""
        return sum(array.size for array in self.leaves.values()) + self.targets.size

    @property
    def ordinary(self) -> bool:
        """Whether all numbers are finite, so that a gradient times 0 is 0."""
        return all(bool(np.isfinite(array.astype(np.float64)).all()) for array in self.leaves.values())

    def take(self, rows: NDArray[np.intp]) -> Question:
        """Return the batch of these rows."""
        return replace(
            self, hidden=self.hidden[rows], targets=self.targets[rows], numbers=self.numbers[rows],
            parts={}, _standards={},
        )  # fmt: skip

    @property
    def exact(self) -> LinearReference:
        return self._all_standards.exact

    def exact_of(self, quantity: str) -> Exact:
        """Return the exact values of a quantity."""
        found: Exact = getattr(self.exact, quantity)
        return found

    def standard(self, quantity: str) -> Standard:
        """Return the standard of a quantity."""
        if quantity not in self._standards:
            self._standards[quantity] = self._all_standards.of(quantity)
        return self._standards[quantity]

    @cached_property
    def _all_standards(self) -> LinearStandards:
        return LinearStandards.of_batch(
            self.hidden, self.weight, self.bias, self.targets, self.fmt, self.options.values, self.options.reduction
        )  # fmt: skip

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return (Quantity.LOSS, *(Quantity(f"gradient_{name}") for name in self.leaves))
