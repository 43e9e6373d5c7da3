"""The size of a check: which batches it tries, and how often it repeats a call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ....cases import Case
from ....core.arguments import as_integer
from ....core.counting import count
from ....core.errors import UsageError
from ._calls import ROWS_UNDER_VMAP
from ._plans import INTERPRETED, QUICK, QUICK_INTERPRETED, Plan
from ._presentation import Arrangement, CallKind
from ._rows import PresentedRows

THINNED_ROWS = 8  # at least this many rows of a width are tried in other presentations


@dataclass(frozen=True)
class Failed:
    """The failures of an earlier check.

    Attributes:
        dtypes: the dtypes with a failure.
        widths: the widths of the failing rows.
        cases: the failing cases of hidden states.
    """

    dtypes: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    cases: tuple[str, ...] = ()

    @classmethod
    def of(cls, failures: pd.DataFrame) -> "Failed":
        """Return the dtypes, and the widths or cases, in the table of failures of a result."""
        widths, cases = (failures[n].unique() if n in failures else () for n in ("classes", "case"))
        dtypes = tuple(str(dtype) for dtype in failures["dtype"].unique())
        # Rows of logits are selected by width, so that their batches stay as they were.
        return cls(dtypes, tuple(sorted(map(int, widths))), () if len(widths) else tuple(map(str, cases)))

    def __bool__(self) -> bool:
        return bool(self.dtypes)

    def __str__(self) -> str:
        some = f"{count(len(self.cases), 'case')}" if self.cases else f"{count(len(self.widths), 'width')}"
        return f"what failed in the last check ({some} in {', '.join(self.dtypes)})"


@dataclass(frozen=True)
class Limits:
    """The batches that a check tries.

    Attributes:
        min_classes, max_classes: the fewest and the most classes of a row; None for no limit.
        max_rows: the most rows of a batch; None for no limit.
        quick: whether to try only a few widths, batches and calls.
        huge: whether to try a batch of more than 2**31 logits too.
        repeat: how often a small batch is called again to find a race; None for the default of the framework.
        interpreted: whether the loss runs in an interpreter of kernels, which is slow: only few rows are tried.
        named: whether the user names the cases, all of whose rows are tried as catalogued.
        failed: the failures of an earlier check, whose dtypes and widths alone are tried; None for all.
    """

    min_classes: int | None = None
    max_classes: int | None = None
    max_rows: int | None = None
    quick: bool = False
    huge: bool = False
    repeat: int | None = None
    interpreted: bool = False
    named: bool = False
    failed: Failed | None = None

    @classmethod
    def of(cls, min_classes: int | None, max_classes: int | None, max_rows: int | None, *, quick: bool) -> "Limits":
        """Return valid limits.

        Raises:
            UsageError: for a limit below 1, or if the fewest classes exceed the most.
        """
        given = {"min_classes": min_classes, "max_classes": max_classes, "max_rows": max_rows}
        low, high, rows = (None if value is None else as_integer(value, name, 1) for name, value in given.items())
        if low is not None and high is not None and low > high:
            raise UsageError(f"min_classes is {low} and max_classes is {high}; give a minimum of at most the maximum")
        return cls(low, high, rows, quick)

    def __str__(self) -> str:
        """Return the limits in words, such as ``rows of 2 to 128 classes, batches of at most 64 rows``; "" for none."""
        low, high = self.min_classes, self.max_classes
        classes = f"rows of {low} to {high} classes" if low and high else ""
        if (low is None) != (high is None):
            classes = f"rows of at {f'least {low:,}' if low else f'most {high:,}'} classes"
        rows = "" if self.max_rows is None else f"batches of at most {count(self.max_rows, 'row')}"
        plan = "" if self.plan is None else self.plan.wording
        failed = "" if self.failed is None else str(self.failed)
        return ", ".join(filter(None, (classes, rows, plan, failed)))

    def dtypes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the dtypes to try; all if none of them has failed."""
        failed = () if self.failed is None else self.failed.dtypes
        return tuple(name for name in names if name in failed) or tuple(names)

    def widths(self, names: Sequence[int]) -> list[int]:
        """Return the widths to try; those within the limits, and of these the ones that have failed."""
        allowed = [width for width in names if self.allow_classes(width)]
        return [width for width in allowed if self.failed is None or width in self.failed.widths]

    @property
    def plan(self) -> Plan | None:
        """The plan of a small check; None for a whole one."""
        if self.interpreted:
            return QUICK_INTERPRETED if self.quick else INTERPRETED
        return QUICK if self.quick else None

    @property
    def repeats(self) -> int | None:
        """How often a small batch is called again; None for the default of the framework."""
        return self.plan.repeat if self.repeat is None and self.plan is not None else self.repeat

    def allow(self, rows: int, classes: int) -> bool:
        """Return whether a batch of this size may be tried."""
        return self.allow_classes(classes) and (self.max_rows is None or rows <= self.max_rows)

    def allow_classes(self, classes: int) -> bool:
        """Return whether rows of this width may be tried."""
        return (self.min_classes or 1) <= classes and (self.max_classes is None or classes <= self.max_classes)

    def nearest(self, rows: int, classes: int) -> tuple[int, int]:
        """Return the size of a batch within the limits that is nearest to this one."""
        wide = max(classes, self.min_classes or 1)
        return min(rows, self.max_rows or rows), min(wide, self.max_classes or wide)

    def within(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """Return the cases within the limits; a small check of no named cases leaves most widths out.

        A case with a reduction is cut to the most rows of a batch. Other cases are divided later.

        Raises:
            UsageError: if no case is left.
        """
        widths = set(self.widths([case.classes for case in cases]))
        left = [case for case in cases if case.classes in widths]
        if self.plan is not None and not self.named:
            left = [case for case in left if self.plan.holds(case)] or left[:1]
        if not left:
            raise UsageError(f"no case has {self}; choose other limits or cases, from `logitlab cases`")
        return tuple(self._cut(case) for case in left)

    def _cut(self, case: Case) -> Case:
        most = self.max_rows
        if most is None or case.rows <= most or case.reduction == "none":
            return case
        return replace(case, logits=case.logits[:most], targets=case.targets[:most])

    def first(self, rows: PresentedRows, *, few_shapes: bool) -> PresentedRows:
        """Return all rows, divided into calls of at most the most rows of a batch; of a small check fewer rows."""
        most, planned = self.max_rows, None if self.plan is None or self.named else self.plan.rows
        if planned is not None and len(rows) > planned:
            rows = rows.take(np.linspace(0, rows.count - 1, planned, dtype=int))
        if most is None or len(rows) <= most:
            return rows
        calls = -(-len(rows) // most)
        return replace(rows.filled(calls * most) if few_shapes else rows, per_call=most)

    def thinned(self, rows: PresentedRows) -> Iterator[PresentedRows]:
        """Yield the rows to try in other presentations, in batches of at most the most rows, from first to last."""
        most = min(self.max_rows or len(rows), len(rows) if self.plan is None else self.plan.again_rows)
        if len(rows) <= most:
            yield rows
            return
        distinct = replace(rows.take(np.s_[: rows.count]), distinct=None)
        parts = max(1, THINNED_ROWS // most)
        places = np.unique(np.linspace(0, len(distinct) - 1, min(parts * most, len(distinct)), dtype=int))
        for part in range(min(parts, len(places))):
            few = distinct.take(places[part::parts])
            yield few if rows.distinct is None else few.filled(most)

    def again(self, rows: PresentedRows, presented: Iterator[PresentedRows]) -> Iterator[PresentedRows]:
        """Yield the presentations of the rows whose calls are within the limits; large batches are cut to them."""
        plan = self.plan
        if plan is not None and rows.classes not in plan.again:
            return
        max_rows = self.max_rows or (None if plan is None else plan.rows)
        for each in presented:
            size = each.per_call or len(each)
            if each.how.call is CallKind.VMAP:
                size = max(size, ROWS_UNDER_VMAP)
            if plan is not None and (size * each.classes > plan.logits or each.how.call in plan.skipped):
                continue
            if max_rows is None or size <= max_rows:
                yield each
            elif each.how.arrangement is Arrangement.LARGE and max_rows > len(rows):
                yield each.take(np.s_[:max_rows]).arranged(Arrangement.LARGE, max_rows)


NO_LIMITS = Limits()
