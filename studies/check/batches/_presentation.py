"""The presentation of rows to a loss: the kind of call, and the arrangement of the rows."""

from dataclasses import dataclass
from enum import StrEnum


class CallKind(StrEnum):
    """The kind of call; each value is its wording."""

    ONCE = "called once"
    AGAIN = "called again"
    WEIGHTED = "its losses weighted"
    SUMMED = "under the upstream gradient 1/2"
    UNTRACKED = "without its gradient"
    TWICE = "differentiated twice"
    BETWEEN = "another batch in between"
    INT32 = "with int32 targets"
    APART = "under a strided upstream gradient"
    EMPTY = "on an empty batch"
    INFERENCE = "in inference mode"
    AUTOCAST = "under autocast"
    VMAP = "under vmap"
    GRAD = "under torch.func.grad"
    JVP = "under jvp"
    SECOND = "its gradient differentiated"
    THREADS = "in two threads"
    AFTER_DTYPE = "after a batch of another dtype"
    REPEATED = "called {times:,} times"


class Arrangement(StrEnum):
    """The arrangement of rows in a batch and in memory, or a change of their numbers; each value is its wording."""

    CATALOGUED = "as catalogued"
    SLICED = "sliced out of wider rows"
    EVERY_OTHER = "with strided targets"
    TAIL = "as x[1:], t[1:] of a longer batch"
    STRIDED_TAIL = "strided in memory, with targets t[1:] of a longer array"
    BOTH_STRIDED = "strided in memory, with strided targets"
    TRANSPOSED = "transposed in memory"
    STRIDED = "strided in memory"
    PERMUTED = "classes permuted"
    SHIFTED = "a constant added to each row"
    REVERSED = "rows in reverse order"
    HALVES = "in two halves"
    ALONE = "alone in its batch"
    SQUARE = "in a square batch"
    LARGE = "in a batch of {size} rows"
    MIXED = "beside rows without a finite loss"


# Arrangements that change the memory of both logits and targets.
MEMORY_OF_BOTH = (Arrangement.TAIL, Arrangement.STRIDED_TAIL, Arrangement.BOTH_STRIDED)
# Arrangements in memory beside the layouts of cases, which adapters make.
OTHER_MEMORY = (Arrangement.SLICED, Arrangement.EVERY_OTHER, *MEMORY_OF_BOTH)
STRIDED_LOGITS = (Arrangement.STRIDED_TAIL, Arrangement.BOTH_STRIDED)
TARGETS_TAIL = (Arrangement.TAIL, Arrangement.STRIDED_TAIL)


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
        times: the number of equal calls, if they are repeated.
    """

    call: CallKind = CallKind.ONCE
    arrangement: Arrangement = Arrangement.CATALOGUED
    options: str = ""
    size: int = 0
    times: int = 0

    def __str__(self) -> str:
        parts = [] if self.call is CallKind.ONCE else [self.call.format(times=self.times)]
        if self.arrangement is not Arrangement.CATALOGUED:
            parts.append(self.arrangement.format(size=self.size))
        elif self.options:
            parts.append(f"with {self.options}")
        return ", ".join(parts) or str(Arrangement.CATALOGUED)


CATALOGUED = Presentation()
