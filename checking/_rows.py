"""Rows to be tried, and the ways to present them again: what the answer must be is known from the first way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cases import Case
from ..formats import Format, quantize
from ..frameworks import Batch
from ..oracle import Exact, Reference
from ..plan import groups

Array = NDArray[Any]
Index = NDArray[np.intp]

CATALOGUED = "as catalogued"
WIDEST = 4096  # classes of the rows that are presented again: beyond it nothing new is met
SEVERAL = 1025  # rows of a large batch: past the blocks that kernels divide a batch into
NARROW = 65  # classes up to which it is tried
ALONE = 24  # rows of a group that are tried alone


@dataclass(frozen=True, eq=False)
class Rows:
    """A batch of rows of one width with their exact answers.

    Attributes:
        cases: (B,), the case of each row.
        numbers: (B,), each row's number in its case.
        logits, targets: (B, C) in the dtype, and (B,).
        exact: the reference of the rows.
        fmt: the dtype.
        how: the way they are presented, in words.
        layout: as of a case.
        per_call: how many rows the loss is given at once; None for all of them.
    """

    cases: tuple[Case, ...]
    numbers: Index
    logits: Array
    targets: Array
    exact: Reference
    fmt: Format
    how: str = CATALOGUED
    layout: str = "rows"
    per_call: int | None = None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    @property
    def batches(self) -> list[Batch]:
        """What the loss is given, call after call."""
        size = self.per_call or len(self)
        starts = range(0, len(self), size)
        # Copies: a loss that writes into its logits must not change what is measured next.
        return [
            Batch(self.logits[i : i + size].copy(), self.targets[i : i + size].copy(), layout=self.layout)
            for i in starts
        ]

    def take(self, index: Any) -> Rows:
        """Some of the rows, in another order or several times."""
        places = np.arange(len(self))[index]
        return replace(
            self,
            cases=tuple(self.cases[i] for i in places),
            numbers=self.numbers[places],
            logits=self.logits[places],
            targets=self.targets[places],
            exact=_rows_of(self.exact, lambda values: values[places]),
        )

    def called(self, how: str) -> Rows:
        return replace(self, how=how)


def _rows_of(exact: Reference, pick: Callable[[Any], Any]) -> Reference:
    of_rows = ("loss", "probabilities", "gradient", "condition", "defined", "mass")
    return replace(exact, **{name: _picked(getattr(exact, name), pick) for name in of_rows})


def _picked(part: Any, pick: Callable[[Any], Any]) -> Any:
    return Exact(pick(part.hi), pick(part.lo)) if isinstance(part, Exact) else pick(part)


def batches(cases: Sequence[Case], fmt: Format) -> Iterator[Rows]:
    """The cases that the dtype can hold, rows of one width together."""
    for group in groups(cases, fmt):
        owners = tuple(case for case in group.cases for _ in range(case.rows))
        numbers = np.concatenate([np.arange(case.rows) for case in group.cases])
        if owners:
            yield Rows(owners, numbers, group.logits, group.targets, group.exact, fmt, layout=group.cases[0].layout)


# --- the same rows in other ways --------------------------------------------------------------------------------


def presented_again(rows: Rows, seed: int = 0) -> Iterator[Rows]:
    """The rows in ways that do not change what each row's answer is."""
    if rows.classes > WIDEST or rows.layout != "rows":
        return
    rng = np.random.default_rng([seed, rows.classes])
    if len(rows) > 1:
        yield rows.take(np.s_[::-1]).called("rows in reverse order")
        yield replace(rows, how="in two halves", per_call=-(-len(rows) // 2))
    few = np.linspace(0, len(rows) - 1, min(ALONE, len(rows)), dtype=int)
    yield replace(rows.take(few), how="alone in its batch", per_call=1)
    if rows.classes <= NARROW:
        yield rows.take(rng.integers(len(rows), size=SEVERAL)).called(f"in a batch of {SEVERAL} rows")
    yield replace(rows, how="classes permuted", **_permuted(rows, rng.permutation(rows.classes)))
    for layout in ("transposed", "strided"):
        yield replace(rows, how=f"{layout} in memory", layout=layout)
    shifted = _shifted(rows, rng)
    if shifted is not None:
        yield shifted.called("a constant added to each row")


def _permuted(rows: Rows, order: Index) -> dict[str, Any]:
    place = np.argsort(order)
    exact = replace(
        rows.exact, probabilities=rows.exact.probabilities[:, order], gradient=rows.exact.gradient[:, order]
    )
    return {"logits": rows.logits[:, order], "targets": place[rows.targets].astype(np.int64), "exact": exact}


def _shifted(rows: Rows, rng: np.random.Generator) -> Rows | None:
    """The rows to which a constant can be added without rounding, and to which it has been; None if there are none.

    The exact answers stay what they are, which no other change of the numbers lets them.
    """
    x = rows.logits.astype(np.float64)
    largest = np.where(np.isfinite(x), np.abs(x), 0.0).max(axis=1, initial=0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = 2.0 ** np.ceil(np.log2(np.maximum(largest, 1.0)))
        constant = scale * rng.choice([-2.0, -1.0, 1.0, 2.0, 4.0], size=len(x))
        moved = x + constant[:, None]
        held = quantize(moved, rows.fmt)
        back = held.astype(np.float64) - constant[:, None]
        exactly = ((back == x) & (held.astype(np.float64) == moved)) | ~np.isfinite(x)
    kept = np.flatnonzero(exactly.all(axis=1) & np.isfinite(x).any(axis=1))
    return replace(rows.take(kept), logits=held[kept]) if kept.size else None
