"""The smallest changes to a test that would notice the faults it lets through."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...cases import all_cases
from ...core.counting import count
from ..check.batches._presentation import CATALOGUED
from ._faults import ARGUMENTS, Call
from ._kinds import Kind

_WIDTH = re.compile(r"check/width_(\d+)")
_SEEDED = re.compile(r"check/([a-z_]+?)_(\d+)")
_SEEDED_WORDS = {"width": "", "gaps": " with large gaps", "far": " far from 0"}
# Seeded rows of a width are of every kind.
_AMONG = {Kind.NON_FINITE: " with NaN and infinite logits", Kind.MASKS: " with masked classes"}
_COMPARED = {
    "loss": "compare the losses",
    "gradient": "compare the gradients",
    ARGUMENTS: "compare the arguments with copies made before the call",
}
_NOUNS = ("its ", "another ", "classes ", "a constant ", "rows ")  # presentations that need a "with"


@dataclass(frozen=True)
class Change:
    """A change to a test.

    Attributes:
        kind: the kind of the faults.
        dtype: the dtype of the logits.
        call: the call to add.
        notices: the names of the faults that it shows, and that an earlier change of the kind does not.
    """

    kind: Kind
    dtype: str
    call: Call
    notices: tuple[str, ...]

    @property
    def text(self) -> str:
        """The change as one sentence."""
        compare = _COMPARED[self.call.quantity]
        if self.call.how == str(CATALOGUED):
            return f"{_rows(self.call.case, self.kind)}, in {self.dtype}: {compare}"
        how = f"with {self.call.how}" if self.call.how.startswith(_NOUNS) else self.call.how
        return f"a call {how}, in {self.dtype} (shown on {_short(self.call.case)}): {compare}"


def smallest_changes(missed: Mapping[tuple[Kind, str], Sequence[tuple[str, Call]]]) -> Iterator[Change]:
    """Yield the fewest changes found that show each fault, most faults first, for each kind.

    Args:
        missed: for each kind and fault, the calls that show it with their dtypes.
    """
    for kind in Kind:
        left = {name: set(calls) for (of, name), calls in missed.items() if of is kind}
        while left:
            counts = Counter(call for calls in left.values() for call in calls)
            if not counts:
                break
            dtype, call = min(counts, key=lambda each: (-counts[each], _complexity(each[1]), each))
            shown = tuple(sorted(name for name, calls in left.items() if (dtype, call) in calls))
            yield Change(kind, dtype, call, shown)
            left = {name: calls for name, calls in left.items() if name not in shown}


def _complexity(call: Call) -> tuple[bool, bool, int]:
    """Return a key that is smaller for calls that are easier to add: as catalogued, of the loss, narrow."""
    width = _WIDTH.fullmatch(call.case)
    return call.how != str(CATALOGUED), call.quantity != "loss", int(width[1]) if width else 0


def _rows(case: str, kind: Kind) -> str:
    """Return what the rows of a case are, and why they are hard."""
    why = next((each.why for each in all_cases() if each.id == case), "")
    return f"{_short(case)} ({why.rstrip('.')})" if why else f"{_short(case)}{_AMONG.get(kind, '')}"


def _short(case: str) -> str:
    """Return a case in a few words; seeded rows of a check by their number of classes."""
    match = _SEEDED.fullmatch(case)
    if match is None:
        return f"the case {case}"
    of = _SEEDED_WORDS.get(match[1], f" with {match[1].replace('_', ' ')}")
    return f"rows of {count(int(match[2]), 'class')}{of}"
