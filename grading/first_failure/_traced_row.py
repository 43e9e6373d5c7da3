"""One row of a traced computation, and a rule of its format that a stage broke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import SOUND, Quantity, Verdict
from .._bounds import RowSizes, loss_bounds
from ._compared_stage import ComparedStage

Float64 = NDArray[np.float64]


class Fix(StrEnum):
    """What would have avoided a failure."""

    SHIFT = "subtract the row maximum first"
    LOG_OF_SUM = "take the logarithm of the sum instead of the probability"
    LOG1P = "take the maximum's own term out of the sum: log1p(sum of the others)"
    SHIFT_TARGET = "subtract the target logit from the maximum before adding: log(s) + (m - x[target])"
    NO_QUOTIENT = "write the gradient as softmax minus one-hot instead of differentiating the quotient"
    OTHERS = "at the target take minus the share of the others instead of p - 1"
    WIDER = "compute in a wider dtype"
    WIDE_SUM = "hold the sum in float32 or wider"


@dataclass(frozen=True)
class BrokenRule:
    """``rule``: what the format did; ``fix``: what would have avoided it, None where an earlier stage is to blame."""

    rule: str
    fix: str | None = None


@dataclass(frozen=True, eq=False)
class TracedRow:
    """One row of a traced computation.

    Attributes:
        formula: whose stages these are; ``builtin`` where they are the quantities alone.
        target: the class index, -1 where the targets are probabilities.
        logits: (C,) in float64.
        fmt: the case's dtype.
        loss: the exact loss.
        verdicts: of the quantities that came, by name.
        stages: in the order of the computation.
    """

    formula: str
    target: int
    logits: Float64
    fmt: Format
    loss: float
    verdicts: Mapping[str, str]
    stages: tuple[ComparedStage, ...]

    def verdict(self, quantity: str) -> str:
        """The verdict of a quantity; ``correct`` for one that did not come."""
        return self.verdicts.get(quantity, Verdict.CORRECT)

    @cached_property
    def wrong(self) -> frozenset[str]:
        """Which of the passes ``forward`` and ``backward`` ended wrong; ``softmax`` where it alone did."""
        verdicts = {"forward": self.verdict(Quantity.LOSS), "backward": self.verdict(Quantity.GRADIENT)}
        if Verdict.UNDEFINED in verdicts.values():
            return frozenset()
        wrong = frozenset(direction for direction, verdict in verdicts.items() if verdict != Verdict.CORRECT)
        alone = not wrong and self.verdict(Quantity.PROBABILITIES) not in SOUND
        return frozenset({"softmax"}) if alone else wrong

    @cached_property
    def tolerance(self) -> float:
        """Grade B's bound for the loss, that of a row of one target."""
        size = self.loss if np.isfinite(self.loss) else 0.0
        return float(loss_bounds(np.array([size]), RowSizes.of(self.logits[None, :], np.ones(1)), self.fmt).b[0])

    @cached_property
    def symbols(self) -> dict[str, Float64]:
        """The computed values by symbol; ``x`` are the logits."""
        return {"x": self.logits} | {s.symbol: s.values for s in self.stages}
