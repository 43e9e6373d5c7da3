"""An entry of the table: a recorded error, and what the same call gives now."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Recorded:
    """The largest error of an implementation, dtype and quantity in the sources.

    Attributes:
        source: the run, or the case file, that has the error.
        ulp: the row's ``max_ulp`` there.
    """

    implementation: str
    dtype: str
    mode: str
    device: str
    quantity: str
    case: str
    row: int
    ulp: float
    version: str
    source: str

    @property
    def framework(self) -> str:
        return self.implementation.partition("/")[0]


@dataclass(frozen=True)
class Entry:
    """A recorded error that was measured again.

    Attributes:
        recorded: the error in its source.
        ulp: the error of the row now; infinite for a result that is not finite, NaN if nothing was measured.
        entry: the entry of the quantity with the largest error, from 0; of the loss 0.
        computed: the value of this entry.
        exact: its exact value, rounded to float64.
        given: the row as exact numbers, or its size if it is wide.
        numbers: the logits of a row that is not wide.
        target: the class, or the target probabilities in words; empty for a whole batch.
        options: the loss options in words.
        problem: why nothing was measured.
    """

    recorded: Recorded
    ulp: float = math.nan
    entry: int = 0
    computed: float = math.nan
    exact: float = math.nan
    given: str = ""
    numbers: tuple[float, ...] = ()
    target: str = ""
    options: str = ""
    problem: str = ""

    @property
    def differs(self) -> bool:
        """Whether the error is not the recorded one, or could not be measured."""
        return self.ulp != self.recorded.ulp

    @property
    def rank_ulp(self) -> float:
        """The error that orders the table: the measured one if it is finite, else the recorded one."""
        return self.ulp if math.isfinite(self.ulp) else self.recorded.ulp

    @property
    def remark(self) -> str:
        """The two errors of an entry that differs, or why nothing was measured; else empty."""
        if self.problem:
            return f"not measured again: {self.problem}"
        if not self.differs:
            return ""
        now = f"{self.ulp:.6g} ulp" if math.isfinite(self.ulp) else "not finite"
        return f"differs: {self.recorded.ulp:.6g} ulp in {self.recorded.source}, {now} when measured again"
