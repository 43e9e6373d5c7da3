"""The population: for each kind of row the worst that has been seen.

A kind is the quantity, the number of classes, the size of the largest logit, the size of the loss, and whether there
is a mask, a tie of the maximum, and the maximum at the target. Each kind keeps one row, so that a hunt does not
collapse on the first bad row that it meets (J.-B. Mouret and J. Clune, *Illuminating search spaces by mapping elites*,
2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cases import Case
from ...core.formats import Format, quantize
from ...oracle import Reference
from ._mutations import Changed, Rng, fitted, fresh, held, mutated

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

# Widths that the catalogue has, the vectors of a kernel and past them; few, since compilers see each as a new shape.
WIDTHS = (2, 3, 5, 10, 17, 64, 257, 1000)
MAX_ROWS, FEWEST_ROWS, LOGITS = 512, 32, 2**15
SIZES = 2.0 ** np.arange(-8, 33, 4)
LOSSES = np.array([0.0, 1e-30, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 4.0, 20.0, 80.0, 1000.0, 1e6, np.inf])
# Where parents are from: any kind, a bad kind, another width, the catalogue, nowhere.
SOURCES = (0.45, 0.3, 0.1, 0.1, 0.05)
TOURNAMENT = 8


Parent = tuple[Float64, int]  # a row (C,) and its target


class Kind(NamedTuple):
    """What sort of row it is: ``sort`` is the rest in one number; no quantity for a row without an answer."""

    quantity: str | None
    classes: int
    sort: int


@dataclass(frozen=True, eq=False)
class Member:
    """A row (C,) in float64, and how bad it is in the quantity of its kind."""

    kind: Kind
    score: float
    logits: Float64
    target: int
    breeds: bool = True


def rows_of(classes: int) -> int:
    """How many rows a call has: always as many, so that compilers see one shape a width."""
    return max(FEWEST_ROWS, min(MAX_ROWS, LOGITS // classes))


@dataclass(eq=False)
class Population:
    """Grows by `take` and breeds by `children`."""

    fmt: Format
    seeds: Sequence[Parent]
    rng: Rng
    members: dict[Kind, Member] = field(default_factory=dict)
    _parents: dict[int, list[Kind]] = field(default_factory=dict)

    @classmethod
    def of(cls, cases: Sequence[Case], fmt: Format, rng: Rng) -> Population:
        """Without members yet; it starts from the rows of the cases that are finite or masked, the widest cut."""
        found = []
        for case in cases:
            x = quantize(case.logits, fmt).astype(np.float64)
            sound = (x < np.inf).all(axis=1) & (x > -np.inf).any(axis=1)
            rows = [(x[r], int(case.targets[r])) for r in np.flatnonzero(sound)]
            found += [fitted(rng, x, t, min(x.size, WIDTHS[-1])) for x, t in rows]
        return cls(fmt, found, rng)

    def first(self, classes: int) -> list[Changed]:
        """What the search starts with in a width: the seeds fitted to it, as many as wide calls have room for."""
        most = max(rows_of(classes), MAX_ROWS // 4)
        # Those of about this width first: of the others only a part is left, or a part is made up.
        near = sorted(range(len(self.seeds)), key=lambda i: abs(np.log(self.seeds[i][0].size / classes)))[:most]
        found = self._fitted([self.seeds[i] for i in near], classes)
        new = fresh(self.rng, -len(found) % rows_of(classes), classes)
        x = held(np.concatenate([*(row[None] for row, _ in found), new[0]]), self.fmt)
        t = np.concatenate([np.array([t for _, t in found], np.int64), new[1]])
        return [(x[i : i + rows_of(classes)], t[i : i + rows_of(classes)]) for i in range(0, len(x), rows_of(classes))]

    def children(self, classes: int) -> Changed:
        """A call's worth of mutants."""
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
        """Which rows of a call would be members: of each kind the worst row, if it is worse than the member."""
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
        """The member of its kind from now on, if it is worse than the one there."""
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
    """What sort of row each of (B, C) is, quantity and classes apart."""
    finite = np.isfinite(logits)
    top = logits.max(axis=1)
    size = np.searchsorted(SIZES, np.abs(np.where(finite, logits, 0.0)).max(axis=1))
    loss = np.searchsorted(LOSSES, exact.loss.hi)
    at_top = logits == top[:, None]
    flags = 4 * (~finite).any(axis=1) + 2 * (at_top.sum(axis=1) > 1) + at_top[np.arange(len(targets)), targets]
    numbers: list[int] = ((size * (len(LOSSES) + 1) + loss) * 8 + flags).tolist()
    return numbers
