"""The words of bitwise invariance: whether a row's results keep their bits when only its surroundings change."""

from dataclasses import dataclass
from enum import StrEnum


class Property(StrEnum):
    """A change around a row that must not change the row's bits."""

    ALONE = "alone"
    AMONG = "among others"
    POSITION = "position"
    NEIGHBOURS = "neighbours"
    THREADS = "threads"
    REPEATED = "repeated"

    @property
    def meaning(self) -> str:
        """The change in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    Property.ALONE: "the row alone in its batch, instead of among others",
    Property.AMONG: "the row in a smaller or larger batch",
    Property.POSITION: "the row at another place of the same batch",
    Property.NEIGHBOURS: "the row beside other rows",
    Property.THREADS: "the same batch with another number of threads",
    Property.REPEATED: "the same batch again",
}


@dataclass(frozen=True)
class Compared:
    """How many rows keep the bits of one quantity when a property changes.

    Attributes:
        kind: the change around a row.
        quantity: ``loss``, ``gradient`` or ``probabilities``.
        rows: the number of compared rows.
        different: how many of them have other bits.
        max_ulp: the largest distance of two results, as a number of steps between adjacent numbers of their dtype;
            infinite between a finite number and another. 0 if all bits are equal.
        row: the row with that distance, by its number in the seeded rows; -1 if all bits are equal.
        where: the call with that distance, in words.
        call: the number of that call in the plan; -1 if all bits are equal.
        place: the place of the row in that call; -1 if all bits are equal.
    """

    kind: Property
    quantity: str
    rows: int = 0
    different: int = 0
    max_ulp: float = 0.0
    row: int = -1
    where: str = ""
    call: int = -1
    place: int = -1

    @property
    def held(self) -> bool:
        """Whether all bits are equal."""
        return not self.different
