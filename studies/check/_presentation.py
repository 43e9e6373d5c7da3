"""How rows are presented to a loss: what kind of call it is, and how the rows are arranged."""

from dataclasses import dataclass
from enum import StrEnum


class CallKind(StrEnum):
    """What is done with the loss; each value is its wording."""

    ONCE = "called once"
    AGAIN = "called again"
    WEIGHTED = "its losses weighted"
    SUMMED = "summed"
    UNTRACKED = "without its gradient"
    TWICE = "differentiated twice"
    BETWEEN = "another batch in between"


class Arrangement(StrEnum):
    """How the rows lie in a batch and in memory, or which other numbers they have; each value is its wording."""

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
    """An argument that a loss must leave as it is."""

    LOGITS = "logits"
    TARGETS = "targets"


@dataclass(frozen=True)
class Presentation:
    """A way to present rows; as text, what tables say of it.

    Attributes:
        call: the kind of call.
        arrangement: of the rows.
        options: the loss options that it mentions, as text.
        size: the rows of a large batch.
    """

    call: CallKind = CallKind.ONCE
    arrangement: Arrangement = Arrangement.CATALOGUED
    options: str = ""
    size: int = 0

    def __str__(self) -> str:
        words = [] if self.call is CallKind.ONCE else [str(self.call)]
        if self.arrangement is not Arrangement.CATALOGUED:
            words.append(self.arrangement.format(size=self.size))
        elif self.options:
            words.append(f"with {self.options}")
        return ", ".join(words) or str(Arrangement.CATALOGUED)


CATALOGUED = Presentation()
