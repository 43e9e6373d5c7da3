"""The smallest changes to a test that would notice the faults it lets through."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...cases import all_cases
from ._faults import Call
from ._kinds import Kind

CATALOGUED = "as catalogued"
_WIDTH = re.compile(r"check/width_(\d+)")
_OPTION = re.compile(r"check/(\w+?)_(\d+)")
_PLAIN_QUANTITY = {"loss": "compare the losses", "gradient": "compare the gradients"}
F = TypeVar("F")


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
        how = "" if self.call.how == CATALOGUED else f", {self.call.how}"
        return f"{_rows(self.call.case)} in {self.dtype}{how}: {_PLAIN_QUANTITY[self.call.quantity]}"


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
    """Return a key that is smaller for calls that are easier to add: of the catalogue, as catalogued, narrow."""
    width = _WIDTH.fullmatch(call.case)
    return call.how != CATALOGUED, call.case.startswith("check/"), int(width[1]) if width else 0


def _rows(case: str) -> str:
    if match := _WIDTH.fullmatch(case):
        return f"rows of {int(match[1]):,} classes ({case})"
    if match := _OPTION.fullmatch(case):
        return f"rows of {int(match[2]):,} classes ({case})"
    whys = {c.id: c.why for c in all_cases()}
    why = whys.get(case, "")
    return f"the case {case} ({why.rstrip('.')})" if why else f"the case {case}"
