"""The faults that count in a dtype, and the calls that show them, as `logitlab.check` has measured them."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ...core.errors import UsageError
from ...core.formats import FORMATS
from . import corpus
from .corpus import Listed

FILE = "verdicts.csv"
COLUMNS = ("framework", "loss", "dtype", "shown_by")
ARGUMENTS = "arguments"  # of a fault that writes into them
CALL_SEPARATOR, PART_SEPARATOR = "; ", " | "


@dataclass(frozen=True, order=True)
class Call:
    """A call that shows a fault: rows of a case, presented in a way, and a quantity to compare.

    Attributes:
        case: the case that has the rows, such as ``masks/first``, or seeded rows of a check, such as ``check/width_5``.
        how: the presentation in which a check tries them, such as ``as catalogued`` or ``called again``.
        quantity: ``loss``, ``gradient``, or ``arguments`` if the loss writes into them.
    """

    case: str
    how: str
    quantity: str

    def __str__(self) -> str:
        return PART_SEPARATOR.join((self.case, self.how, self.quantity))


def require_measured(framework: str, dtypes: Iterable[str]) -> None:
    """Raise a UsageError for a framework or a dtype in which no fault was measured."""
    if framework not in corpus.MODULES:
        raise UsageError(f"no losses of {framework!r} to audit with; choose one of {', '.join(corpus.MODULES)}")
    for dtype in dtypes:
        if dtype not in FORMATS:
            raise UsageError(f"an audit has no dtype {dtype!r}; choose one of {', '.join(FORMATS)}")


@cache
def _shown() -> dict[tuple[str, str, str], tuple[Call, ...]]:
    text = files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return {
        (line["framework"], line["loss"], line["dtype"]): tuple(_calls(line["shown_by"]))
        for line in csv.DictReader(text.splitlines())
    }


def _calls(text: str) -> Iterator[Call]:
    for call in text.split(CALL_SEPARATOR):
        case, how, quantity = call.split(PART_SEPARATOR)
        yield Call(case, how, quantity)


def shown_by(fault: Listed, dtype: str) -> tuple[Call, ...]:
    """Return calls that show the fault beyond grade B in this dtype; none if it does not count there."""
    return _shown().get((fault.framework, fault.name, dtype), ())


def measured() -> dict[tuple[str, str, str], tuple[Call, ...]]:
    """Return the calls of all faults by framework, name and dtype."""
    return dict(_shown())
