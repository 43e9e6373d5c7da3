"""Plans of a small check: a quick one, and one that an interpreter of kernels ends in about a minute."""

from collections.abc import Collection
from dataclasses import dataclass

from ....cases import Case
from ._presentation import CallKind
from ._seeded import SEEDED

# PyTorch imports a compiler for them, which takes a second.
SLOW_AT_FIRST = (CallKind.GRAD, CallKind.JVP)


@dataclass(frozen=True)
class Plan:
    """The part of a whole check that a small one tries.

    Attributes:
        wording: the plan in a few words.
        widths: the widths of rows; the first width that a case has is tried if none of them is.
        again: the widths of rows that are also tried in other presentations.
        again_rows: the most of these rows.
        logits: the most logits of a call in another presentation.
        skipped: the kinds of call that are not tried.
        rows: the most rows of a width as catalogued, and of any batch; None for all.
        option_widths: the widths of seeded rows with loss options; None for all of ``widths``.
        one_each: whether to take one case of each family of the catalogue, of any width, and not all.
        repeat: how often a small batch is called to find a race; None for the default.
    """

    wording: str
    widths: tuple[int, ...]
    again: tuple[int, ...]
    again_rows: int
    logits: int
    skipped: Collection[CallKind] = SLOW_AT_FIRST
    rows: int | None = None
    option_widths: tuple[int, ...] | None = None
    one_each: bool = False
    repeat: int | None = None

    def holds(self, case: Case) -> bool:
        """Return whether the plan has the case."""
        if not case.id.startswith(SEEDED):
            return "quick" in case.tags if self.one_each else case.classes in self.widths
        widths = self.widths if case.plain or self.option_widths is None else self.option_widths
        return case.classes in widths


# One, odd, even, a vector and more, a tile and more.
QUICK = Plan("a few widths and calls (quick)", (1, 2, 3, 5, 8, 33, 128, 1025), (3, 33), 32, 2**16)
# An interpreter takes time for each program of a kernel, most of which compute a row, and little more for a wide row.
# It runs one program after another, so that it shows no race.
INTERPRETED = Plan(
    "a few rows and calls, for an interpreter", (1, 2, 3, 5, 8, 33, 64, 128, 129, 1025, 4097, 65537), (5, 33), 8, 2**20,
    rows=32, option_widths=(33,), one_each=True, repeat=0,
)  # fmt: skip
QUICK_INTERPRETED = Plan(
    "a few rows and calls, for an interpreter (quick)", (1, 3, 33, 1025), (33,), 6, 2**20,
    rows=16, option_widths=(33,), one_each=True, repeat=0,
)  # fmt: skip
