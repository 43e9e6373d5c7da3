"""A group of one case of the linear problem, with its exact answer and the standards that grade it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cases import LinearCase
from ...core.vocabulary import Problem, Quantity
from ...frameworks import LinearBatch
from ...grading import LinearStandards, Standard
from ...oracle import Exact, LinearReference, Reference
from ..registry import ImplementationInfo
from ._groups import MAX_KEPT_LOGITS, Group

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearGroup(Group):
    """One case of the linear problem; its ``exact`` is that of its exact logits."""

    @property
    def problem(self) -> Problem:
        return Problem.LINEAR

    @property
    def case(self) -> LinearCase:
        (case,) = self.cases
        if not isinstance(case, LinearCase):
            raise TypeError(f"{case.id} has the problem {case.problem}; expected {Problem.LINEAR}")
        return case

    @cached_property
    def inputs(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """Hidden states, weight and bias as the dtype holds them."""
        return self.case.quantized_inputs(self.fmt)

    @cached_property
    def _linear_standards(self) -> LinearStandards:
        return LinearStandards.of_batch(
            *self.inputs, self.targets, self.fmt, self.options, self.reduction, self.convention
        )  # fmt: skip

    @property
    def linear_exact(self) -> LinearReference:
        return self._linear_standards.exact

    @property
    def exact(self) -> Reference:
        return self.linear_exact.of_logits

    @property
    def row_losses(self) -> Exact:
        return self._linear_standards.row_losses

    def standard(self, quantity: str, info: ImplementationInfo) -> Standard:
        exposed = self.reduction != "none" and quantity == Quantity.LOSS and not info.reduces

        def build() -> Standard:
            return self._linear_standards.of(quantity, rows_exposed=exposed)

        too_large = self.case.linear_weight.size > MAX_KEPT_LOGITS
        return build() if too_large else self._kept(self._standards, (quantity, exposed), build)

    def apriori(self, quantity: str) -> tuple[Float64, Float64] | None:
        return None  # the theorems are for given logits

    def batch(self) -> LinearBatch:
        hidden, weight, bias = self.inputs
        return LinearBatch(hidden, weight, bias, self.targets, self.reduction, self.options)

    def is_one_row(self, quantity: str) -> bool:
        return super().is_one_row(quantity) or Quantity(quantity).of_batch
