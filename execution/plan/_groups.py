"""Groups of cases that share a call, with their exact answers and the standards that grade them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...cases import Case
from ...core.conventions import STANDARD, Convention
from ...core.formats import Format
from ...core.options import OptionValues
from ...core.vocabulary import OracleKind, Problem, Quantity
from ...frameworks import Batch, LinearBatch
from ...grading import Standard, apriori_bounds
from ...oracle import Exact, Reference, bulk, reference, stack_references, without_answers
from ..registry import ImplementationInfo

K = TypeVar("K")
T = TypeVar("T")
Float64 = NDArray[np.float64]

# The most logits of a group whose standards are cached for the next cell: as many as the catalogue's widest rows have.
MAX_KEPT_LOGITS = 2**19
# The answers of so many cases of at most so many logits stay in memory, for the next check or run in the process.
MAX_KNOWN_CASES, MAX_KNOWN_LOGITS = 1024, 2**10


@dataclass(frozen=True, eq=False)
class CaseRows:
    """Rows of cases: each row's case and family, its number in the case, and its number of classes."""

    case: tuple[str, ...]
    family: tuple[str, ...]
    row: NDArray[np.int32]
    classes: NDArray[np.int32]

    @classmethod
    def of(cls, cases: Sequence[Case], *, reduced: bool) -> Self:
        """Return the rows of the cases; if reduced, one row -1 for each case."""
        counts = [1 if reduced else c.rows for c in cases]
        numbers = [np.array([-1]) if reduced else np.arange(c.rows) + (c.first_row or 0) for c in cases]
        return cls(
            tuple(c.id for c, n in zip(cases, counts, strict=True) for _ in range(n)),
            tuple(c.family for c, n in zip(cases, counts, strict=True) for _ in range(n)),
            np.concatenate(numbers).astype(np.int32),
            np.repeat([c.classes for c in cases], counts).astype(np.int32),
        )


@dataclass(frozen=True, eq=False)
class Group:
    """Cases evaluated in one call: stacked plain cases of equal width, or one case with loss options.

    ``common_rows`` is the number of rows that a framework may fill its batch up to; see `Batch.common_rows`.
    """

    cases: tuple[Case, ...]
    fmt: Format
    oracle: OracleKind = OracleKind.BALLS
    convention: Convention = STANDARD
    common_rows: int | None = None
    _by_convention: dict[Convention, Group] = field(default_factory=dict, init=False, repr=False)
    _standards: dict[tuple[str, bool], Standard] = field(default_factory=dict, init=False, repr=False)
    _bounds: dict[str, tuple[Float64, Float64]] = field(default_factory=dict, init=False, repr=False)
    _case_rows: dict[bool, CaseRows] = field(default_factory=dict, init=False, repr=False)

    @property
    def plain(self) -> bool:
        """Whether the rows are plain, without loss options."""
        return self.cases[0].plain

    @property
    def problem(self) -> Problem:
        """The kind of numbers that losses of the group are a function of."""
        return Problem.LOGITS

    @property
    def reduction(self) -> str:
        return self.cases[0].reduction

    @property
    def rows(self) -> int:
        return sum(c.rows for c in self.cases)

    @property
    def classes(self) -> int:
        return self.cases[0].classes

    def with_convention(self, convention: Convention) -> Group:
        """Return the group with the exact answers of this convention; the group itself if they are the same."""
        if convention == self.convention or "weight" not in self.options:
            return self
        return self._kept(self._by_convention, convention, lambda: replace(self, convention=convention))

    @cached_property
    def logits(self) -> NDArray[Any]:
        return np.concatenate([c.quantized(self.fmt) for c in self.cases])

    @cached_property
    def targets(self) -> NDArray[Any]:
        return np.concatenate([c.quantized_targets(self.fmt) for c in self.cases])

    @cached_property
    def options(self) -> OptionValues:
        return self.cases[0].options(self.fmt)

    def case_rows(self, *, reduced: bool) -> CaseRows:
        """Return the rows of a quantity by case; a reduced loss has one row, -1, for each case."""
        if reduced not in self._case_rows:
            self._case_rows[reduced] = CaseRows.of(self.cases, reduced=reduced)
        return self._case_rows[reduced]

    @cached_property
    def exact(self) -> Reference:
        """The reference under the group's reduction, stacked from each case's, so that any grouping finds it cached."""
        return stack_references([self._reference(c, c.reduction) for c in self.cases])

    @cached_property
    def row_losses(self) -> Exact:
        """The losses before any reduction."""
        return self.exact.loss if self.reduction == "none" else self._reference(self.cases[0], "none").loss

    def _reference(self, case: Case, reduction: str) -> Reference:
        if self.oracle is OracleKind.QUAD and case.plain and case.first_row is not None and not case.invalid:
            return bulk(case.quantized(self.fmt), case.quantized_targets(self.fmt), case.first_row)
        small = case.first_row is None and case.logits.size <= MAX_KNOWN_LOGITS  # a piece of a file is used once
        return (_known_reference if small else _reference)(case, self.fmt, reduction, self.convention)

    def standard(self, quantity: str, info: ImplementationInfo) -> Standard:
        """Return the standard of a quantity for an implementation."""
        # A loss that does not reduce by itself exposes its rows.
        exposed = self.reduction != "none" and quantity == Quantity.LOSS and not info.reduces
        losses = self.row_losses if quantity == Quantity.LOSS else None
        given = quantity, self.logits, self.fmt, self.exact, self.reduction, losses
        return self._kept(self._standards, (quantity, exposed), lambda: Standard.of(*given, rows_exposed=exposed))

    def apriori(self, quantity: str) -> tuple[Float64, Float64] | None:
        """Return the a-priori bounds of a quantity's rows, unshifted and shifted; None where no theorem applies."""
        if quantity != Quantity.PROBABILITIES and self.options:
            return None
        given = quantity, self.logits, self.targets, self.fmt, self.exact
        return self._kept(self._bounds, quantity, lambda: apriori_bounds(*given))

    def _kept(self, cache: dict[K, T], key: K, build: Callable[[], T]) -> T:
        # Few cells use a large block of a file, and caching it would take most of the memory.
        if self.logits.size > MAX_KEPT_LOGITS:
            return build()
        if key not in cache:
            cache[key] = build()
        return cache[key]

    def is_one_row(self, quantity: str) -> bool:
        """Return whether a case has one such result, not one for each row."""
        return quantity == Quantity.LOSS and self.reduction != "none"

    def quantities(self, info: ImplementationInfo) -> Sequence[str]:
        """Return the quantities that an implementation returns for the group."""
        return self.batch().quantities(info)

    def batch(self) -> Batch | LinearBatch:
        """Return the input of a call."""
        hosted = self.fmt if self.fmt.is_hosted else None
        layout = self.cases[0].layout
        return Batch(
            self.logits, self.targets, self.reduction, self.options, layout, self.common_rows, format=hosted
        )  # fmt: skip

    def divided(self) -> tuple[Group, ...]:
        """Return one group for each case; empty if there is only one case."""
        return tuple(replace(self, cases=(c,)) for c in self.cases) if len(self.cases) > 1 else ()


def _reference(case: Case, fmt: Format, reduction: str, convention: Convention) -> Reference:
    logits, targets = case.quantized(fmt), case.quantized_targets(fmt)
    if case.invalid:
        return without_answers(reference(logits, np.zeros(case.rows, np.int64)))
    # The reference of a piece of a file is ten times as large, so caching would only fill the disk.
    keep = case.first_row is None
    return reference(logits, targets, reduction=reduction, keep=keep, convention=convention, **case.options(fmt))


_known_reference = lru_cache(MAX_KNOWN_CASES)(_reference)
