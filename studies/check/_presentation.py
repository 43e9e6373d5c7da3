"""The presentation of rows to a loss: the kind of call, and the arrangement of the rows."""

from dataclasses import dataclass
from enum import StrEnum


class CallKind(StrEnum):
    """The kind of call; each value is its wording."""

    ONCE = "called once"
    AGAIN = "called again"
    WEIGHTED = "its losses weighted"
    SUMMED = "summed"
    UNTRACKED = "without its gradient"
    TWICE = "differentiated twice"
    BETWEEN = "another batch in between"


class Arrangement(StrEnum):
    """The arrangement of rows in a batch and in memory, or a change of their numbers; each value is its wording."""

    CATALOGUED = "as catalogued"
    SLICED = "sliced out of wider rows"
    EVERY_OTHER = "every other number of its targets' memory"
    TRANSPOSED = "transposed in memory"
    STRIDED = "strided in memory"
    PERMUTED = "classes permuted"
    SHIFTED = "a constant added to each row"
    REVERSED = "rows in reverse order"
    HALVES = "in two halves"
    ALONE = "alone in its batch"
    SQUARE = "in a square batch"
    LARGE = "in a batch of {size} rows"


class Argument(StrEnum):
    """An argument that a loss must not change."""

    LOGITS = "logits"
    TARGETS = "targets"


@dataclass(frozen=True)
class Presentation:
    """A presentation of rows; its text is used in tables.

    Attributes:
        call: the kind of call.
        arrangement: the arrangement of the rows.
        options: the loss options, as text.
        size: the number of rows of a large batch.
    """

    call: CallKind = CallKind.ONCE
    arrangement: Arrangement = Arrangement.CATALOGUED
    options: str = ""
    size: int = 0

    def __str__(self) -> str:
        parts = [] if self.call is CallKind.ONCE else [str(self.call)]
        if self.arrangement is not Arrangement.CATALOGUED:
            parts.append(self.arrangement.format(size=self.size))
        elif self.options:
            parts.append(f"with {self.options}")
        return ", ".join(parts) or str(Arrangement.CATALOGUED)


CATALOGUED = Presentation()
