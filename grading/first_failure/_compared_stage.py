"""A stage of one row, its computed values beside the exact ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format, ulp
from ...frameworks.stages import Stage
from ._exact import ExactValues

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ComparedStage(Stage):
    """One stage of one row, whose ``value`` has shape (E,).

    The exact values are computed when they are first used: ``answer`` returns them, and ``all_real`` says beforehand
    that all are real numbers, as they are of a row of finite logits.
    """

    answer: Callable[[], ExactValues]
    all_real: bool = False

    @classmethod
    def of(
        cls, stage: Stage, value: NDArray[Any], answer: Callable[[], ExactValues], *, all_real: bool = False
    ) -> Self:
        """The stage with its value in one row."""
        kind = stage.direction, stage.name, stage.symbol, stage.text, stage.operation, stage.operands
        return cls(*kind, np.atleast_1d(value), answer, all_real)

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return str(self.value.dtype.name)

    @cached_property
    def values(self) -> Float64:
        """The computed values in float64."""
        values: Float64 = self.value.astype(np.float64)
        return values

    @cached_property
    def exact(self) -> ExactValues:
        return self.answer()

    @cached_property
    def finite(self) -> Mask:
        finite: Mask = np.isfinite(self.values)
        return finite

    @cached_property
    def error(self) -> Float64:
        """Absolute; infinite where the value is not of the exact value's kind, NaN where there is no exact value."""
        hi, lo, v = self.exact.hi, self.exact.lo, self.values
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where(np.isfinite(v) & np.isfinite(hi), np.abs((v - hi) - lo), np.inf)
            same = ~self.exact.real & ((v == hi) | (np.isnan(v) & np.isnan(hi)))
            return np.where(self.exact.known, np.where(same, 0.0, apart), np.nan)

    @cached_property
    def relative(self) -> Float64:
        """The error relative to the exact value; 0 where that is zero or not a number of float64."""
        size = np.abs(self.exact.hi)
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where((size > 0) & np.isfinite(size), self.error / np.where(size > 0, size, 1.0), 0.0)

    def max_ulp(self, fmt: Format) -> float:
        """The largest error in spacings of the format; NaN where there is no exact value."""
        with np.errstate(invalid="ignore", over="ignore"):
            spacing = np.where(np.isfinite(self.exact.hi), ulp(self.exact.hi, fmt, self.exact.lo), 1.0)
            errors: list[float] = (self.error / spacing)[self.exact.known].tolist()
        return max(errors, default=float("nan"))
