"""The search: calls bred from the population, their rows scored, the worst of each kind kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.progress import Progress
from ...execution.plan import Cell
from ...execution.pool import Pools
from ...oracle import Reference
from ._approximate_reference import nearly
from ._mutations import Changed, Rng
from ._population import LOGITS, WIDTHS, Kind, Member, Population, kinds, rows_of
from ._score import NO_ANSWER, NOT_GRADED, Severity, severity
from ._trials import Answer, Trial, stream

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

# How often a width is chosen: wide calls have fewer rows, and each costs as much.
SHARES = np.array([min(1.0, rows_of(w) * 64 / LOGITS) for w in WIDTHS])
NOBODY = "no answer"  # in the place of a quantity
MARGIN = 1e-3  # of a grade; scores are known to that
MAX_DEAD = 3  # rows that killed or hung the worker: each may cost minutes, and it has been found out


@dataclass(frozen=True)
class Budget:
    """How long to search: for so many evaluations if they are given, else for so many seconds."""

    seconds: float
    evaluations: int | None

    def total(self) -> int:
        return self.evaluations if self.evaluations is not None else max(1, int(self.seconds))

    def exhausted(self, evaluations: int, since: float) -> int:
        return min(self.total(), evaluations if self.evaluations is not None else int(time.monotonic() - since))

    def is_left(self, evaluations: int, since: float) -> bool:
        if self.evaluations is not None:
            return evaluations < self.evaluations
        return time.monotonic() - since < self.seconds


@dataclass(eq=False)
class Search:
    """A hunt under way in one cell.

    Attributes:
        floors: the catalogue's worst score of each quantity, which is to be passed.
        bred, answered: rows that have been sent out, and that have come back.
    """

    pools: Pools
    cell: Cell
    fmt: Format
    population: Population
    floors: dict[str, float]
    measure: str
    rng: Rng
    bred: int = 0
    answered: int = 0
    began: float = field(default_factory=time.monotonic)
    _calls: int = 0
    _dead: int = 0
    _passed: set[Kind] = field(default_factory=set)
    _first: list[Changed] = field(default_factory=list)

    def run(self, budget: Budget, progress: Progress | None = None) -> None:
        """Searches until the budget is spent, somebody interrupts, or too many rows have killed the worker."""
        self.began = time.monotonic()
        self._first = [rows for width in WIDTHS for rows in self.population.first(width)]
        with suppress(KeyboardInterrupt):  # what has been found until then is kept
            for answers in stream(self.pools, lambda: self._breed(budget), self._enough):
                for answer in answers:
                    self._learn(answer)
                if progress is not None:
                    label = f"{self.answered:,} rows tried, {len(self._passed)} kinds of row worse than the catalogue's"
                    progress(budget.exhausted(self.answered, self.began), budget.total(), label)

    def found(self) -> list[Member]:
        """The members that are worse than the catalogue, the worst first."""
        worse = [m for m in self.population.members.values() if self._passes(m)]
        return sorted(worse, key=lambda m: m.score, reverse=True)

    def _passes(self, member: Member) -> bool:
        return member.score > self.floors[member.kind[0]] + MARGIN

    def scores(self, quantity: str) -> Callable[[Float64, Index], Float64]:
        """A function of rows (k, C) and targets (k,) to their scores in a quantity, in calls of the search's shapes."""

        def of(x: Float64, t: Index) -> Float64:
            size = rows_of(x.shape[1])
            # The last call is filled up: another shape would be compiled anew.
            places = np.arange(-(-len(x) // size) * size) % len(x)
            trials = [self._trial(x[part], t[part]) for part in places.reshape(-1, size)]
            starts = {trial.number: i * size for i, trial in enumerate(trials)}
            found = np.full(len(places), NOT_GRADED)
            waiting = iter(trials if self._dead < MAX_DEAD else ())
            for answer in chain.from_iterable(stream(self.pools, lambda: next(waiting, None), self._enough)):
                start = starts[answer.trial.number] + answer.trial.start
                found[start : start + len(answer.trial.logits)] = self._scored(answer, quantity)
            return found[: len(x)]

        return of

    def _breed(self, budget: Budget) -> Trial | None:
        if not budget.is_left(self.bred, self.began):
            return None
        if self._first:
            x, t = self._first.pop(0)
        else:
            x, t = self.population.children(int(self.rng.choice(WIDTHS, p=SHARES / SHARES.sum())))
        self.bred += len(x)
        return self._trial(x, t)

    def _enough(self, answer: Answer) -> bool:
        """Whether the search has to end with this answer."""
        self._dead += answer.deadly
        return self._dead >= MAX_DEAD

    def _trial(self, x: Float64, t: Index) -> Trial:
        self._calls += 1
        return Trial(self.cell, x.astype(self.fmt.dtype), t, number=self._calls)

    def _learn(self, answer: Answer) -> None:
        """Takes the rows of an answer into the population."""
        trial = answer.trial
        self.answered += len(trial.logits)
        exact = nearly(trial.logits, trial.targets, self.fmt)
        of_rows = kinds(trial.logits.astype(np.float64), trial.targets, exact)
        if answer.faulty:  # it is a row of its own: a call that fails is divided until then
            self._take(self._member(answer, NOBODY, of_rows[0], 0, NO_ANSWER))
        for quantity, found in self._severities(answer, exact).items():
            for r in self.population.better(quantity, of_rows, found.score, trial.logits.shape[1]).tolist():
                self._take(self._member(answer, quantity, of_rows[r], r, float(found.score[r])))

    def _take(self, member: Member) -> None:
        self.population.take(member)
        if self._passes(member):
            self._passed.add(member.kind)

    def _member(self, answer: Answer, quantity: str, kind: int, r: int, score: float) -> Member:
        x, t = answer.trial.logits[r].astype(np.float64), int(answer.trial.targets[r])
        return Member((quantity, x.size, kind), score, x, t, breeds=quantity != NOBODY)

    def _severities(self, answer: Answer, exact: Reference) -> dict[str, Severity]:
        return {
            quantity: severity(quantity, computed, answer.trial.logits, self.fmt, exact, self.measure)
            for quantity, computed in answer.values.items()
            if quantity in self.floors
        }

    def _scored(self, answer: Answer, quantity: str) -> Float64:
        trial = answer.trial
        if quantity not in answer.values:
            return np.full(len(trial.logits), NOT_GRADED)
        return self._severities(answer, nearly(trial.logits, trial.targets, self.fmt))[quantity].score
