"""The population: the worst row found of each kind.

Rows are of one kind if they agree in the quantity, the number of classes, the size of the largest logit, and the size
of the loss. They must also agree in whether there is a mask, a tie of the maximum, and the maximum at the target. Each
kind keeps one row, so that the hunt does not collapse to variants of the first bad row. See J.-B. Mouret and J. Clune,
*Illuminating search spaces by mapping elites*, 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cases import Case
from ...core.formats import Format
from ...core.rounding import quantize
from ...oracle import Reference
from ._mutations import Changed, Rng, fitted, fresh, held, mutated

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

# Widths of the catalogue, and widths at and past a kernel's vectors; few, since each is a new shape to compile.
WIDTHS = (2, 3, 5, 10, 17, 64, 257, 1000)
MAX_ROWS, FEWEST_ROWS, LOGITS = 512, 32, 2**15
SIZES = 2.0 ** np.arange(-8, 33, 4)
LOSSES = np.array([0.0, 1e-30, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 4.0, 20.0, 80.0, 1000.0, 1e6, np.inf])
# The sources of parents: any kind, a bad kind, another width, the catalogue, or a new random row.
SOURCES = (0.45, 0.3, 0.1, 0.1, 0.05)
TOURNAMENT = 8


Parent = tuple[Float64, int]  # a row (C,) and its target


class Kind(NamedTuple):
    """The kind of a row: ``sort`` encodes the other properties; the quantity is None for a row without an answer."""

    quantity: str | None
    classes: int
    sort: int


@dataclass(frozen=True, eq=False)
class Member:
    """A row (C,) in float64, and its score in the quantity of its kind."""

    kind: Kind
    score: float
    logits: Float64
    target: int
    breeds: bool = True


def rows_of(classes: int) -> int:
    """Return the number of rows of a call, which is fixed for each width so that only one shape is compiled."""
    return max(FEWEST_ROWS, min(MAX_ROWS, LOGITS // classes))


@dataclass(eq=False)
class Population:
    """The members; `take` adds rows and `children` breeds mutants."""

    fmt: Format
    seeds: Sequence[Parent]
    rng: Rng
    members: dict[Kind, Member] = field(default_factory=dict)
    _parents: dict[int, list[Kind]] = field(default_factory=dict)

    @classmethod
    def of(cls, cases: Sequence[Case], fmt: Format, rng: Rng) -> Population:
        """Return a population without members; its seeds are the finite or masked rows of the cases, cut to a width."""
        found = []
        for case in cases:
            x = quantize(case.logits, fmt).astype(np.float64)
            sound = (x < np.inf).all(axis=1) & (x > -np.inf).any(axis=1)
            rows = [(x[r], int(case.targets[r])) for r in np.flatnonzero(sound)]
            found += [fitted(rng, x, t, min(x.size, WIDTHS[-1])) for x, t in rows]
        return cls(fmt, found, rng)

    def first(self, classes: int) -> list[Changed]:
        """Return the first rows of a width: seeds cut or extended to it, as many as fit in a call."""
        most = max(rows_of(classes), MAX_ROWS // 4)
        # Seeds of about this width first: others are cut, or extended by random classes.
        near = sorted(range(len(self.seeds)), key=lambda i: abs(np.log(self.seeds[i][0].size / classes)))[:most]
        found = self._fitted([self.seeds[i] for i in near], classes)
        new = fresh(self.rng, -len(found) % rows_of(classes), classes)
        x = held(np.concatenate([*(row[None] for row, _ in found), new[0]]), self.fmt)
        t = np.concatenate([np.array([t for _, t in found], np.int64), new[1]])
        return [(x[i : i + rows_of(classes)], t[i : i + rows_of(classes)]) for i in range(0, len(x), rows_of(classes))]

    def children(self, classes: int) -> Changed:
        """Return the mutants for one call."""
        many = rows_of(classes)
        counts = self.rng.multinomial(many, SOURCES)
        if not self._parents.get(classes):
            counts = np.array([0, 0, 0, many // 2, many - many // 2])
        own, bad, others, seeds, _ = counts.tolist()
        parents = self._any(classes, own) + self._bad(classes, bad)
        width = int(self.rng.choice(list(self._parents) or [classes]))
        parents += self._fitted(self._any(width, others), classes) + self._from_seeds(seeds, classes)
        x, t = fresh(self.rng, many - len(parents), classes)
        if parents:
            x = np.concatenate([np.stack([p for p, _ in parents]), x])
            t = np.concatenate([np.array([c for _, c in parents], np.int64), t])
        return mutated(self.rng, held(x, self.fmt), t, self.fmt)

    def better(self, quantity: str, kinds: Sequence[int], scores: Float64, classes: int) -> Index:
        """Return the rows of a call that would be members: the worst of each kind, if worse than the member."""
        found: dict[int, int] = {}
        for r in np.flatnonzero(np.isfinite(scores)).tolist():
            kind, score = kinds[r], scores[r]
            there = found.get(kind)
            if there is not None and scores[there] >= score:
                continue
            member = self.members.get(Kind(quantity, classes, kind))
            if member is None or member.score < score:
                found[kind] = r
        return np.array(sorted(found.values()), np.int64)

    def take(self, member: Member) -> None:
        """Make the row the member of its kind, if it is worse than the present one."""
        there = self.members.get(member.kind)
        if there is not None and there.score >= member.score:
            return
        self.members[member.kind] = member
        if there is None and member.breeds:
            self._parents.setdefault(member.kind.classes, []).append(member.kind)

    def _any(self, classes: int, many: int) -> list[Parent]:
        kinds = self._parents.get(classes, [])
        return self._rows([kinds[i] for i in self.rng.integers(len(kinds), size=many)] if kinds else [])

    def _bad(self, classes: int, many: int) -> list[Parent]:
        kinds = self._parents.get(classes, [])
        if not kinds:
            return []
        scores = np.array([self.members[kind].score for kind in kinds])
        drawn = self.rng.integers(len(kinds), size=(many, TOURNAMENT))
        return self._rows([kinds[i] for i in drawn[np.arange(many), scores[drawn].argmax(axis=1)]])

    def _rows(self, kinds: Sequence[Kind]) -> list[Parent]:
        return [(self.members[kind].logits, self.members[kind].target) for kind in kinds]

    def _from_seeds(self, many: int, classes: int) -> list[Parent]:
        if not self.seeds:
            return []
        return self._fitted([self.seeds[i] for i in self.rng.integers(len(self.seeds), size=many)], classes)

    def _fitted(self, rows: Sequence[Parent], classes: int) -> list[Parent]:
        return [fitted(self.rng, x, t, classes) for x, t in rows]


def row_kinds(logits: Float64, targets: Index, exact: Reference) -> list[int]:
    """Return the kind of each row of (B, C) as a number, without its quantity and width."""
    finite = np.isfinite(logits)
    top = logits.max(axis=1)
    size = np.searchsorted(SIZES, np.abs(np.where(finite, logits, 0.0)).max(axis=1))
    loss = np.searchsorted(LOSSES, exact.loss.hi)
    at_top = logits == top[:, None]
    flags = 4 * (~finite).any(axis=1) + 2 * (at_top.sum(axis=1) > 1) + at_top[np.arange(len(targets)), targets]
    numbers: list[int] = ((size * (len(LOSSES) + 1) + loss) * 8 + flags).tolist()
    return numbers
