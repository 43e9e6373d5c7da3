"""The search: calls bred from the population, made in a worker, their rows scored, the worst of each kind kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.progress import Progress
from ...core.vocabulary import Status
from ...execution.plan import Call, Cell
from ...execution.pool import Pools
from ...execution.worker import Outcome
from ...frameworks import Batch
from ...oracle import Reference
from ._approximate_reference import approximate_reference
from ._mutations import Changed, Rng
from ._population import LOGITS, WIDTHS, Kind, Member, Population, row_kinds, rows_of
from ._score import NO_ANSWER, NOT_GRADED, Scored, score

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

# How often a width is chosen: wide calls have fewer rows, and each costs as much.
SHARES = np.array([min(1.0, rows_of(w) * 64 / LOGITS) for w in WIDTHS])
MARGIN = 1e-3  # of a grade; scores are known to that
MAX_DEAD = 3  # rows that killed or hung the worker: each may cost minutes, and it has been found out
PARTS = 8  # that a failing call is divided into, until one row is to blame
FAULTS = (Status.RAISED, Status.CRASHED, Status.TIMEOUT)


@dataclass(frozen=True, eq=False)
class Trial(Call):
    """Rows given to a cell in one call. ``number`` is the call's, ``start`` its first row's in it."""

    logits: Array
    targets: Array
    number: int = 0
    start: int = 0

    def batch(self) -> Batch:
        return Batch(self.logits, self.targets)

    def divided(self) -> tuple[Trial, ...]:
        if len(self.logits) == 1:
            return ()
        cuts = np.array_split(np.arange(len(self.logits)), min(PARTS, len(self.logits)))
        return tuple(
            replace(self, logits=self.logits[part], targets=self.targets[part], start=self.start + int(part[0]))
            for part in cuts
        )


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of the rows of a call, or of a part of one that failed."""

    trial: Trial
    outcome: Outcome

    @property
    def values(self) -> dict[str, Array]:
        return dict(self.outcome.values)


def stream(
    pools: Pools, breed: Callable[[], Trial | None], enough: Callable[[Answer], bool], ahead: int = 2
) -> Iterator[list[Answer]]:
    """Call bred one after the other, ``ahead`` of them before the first is answered, until there are no more.

    The answers to a call come together and in the order of the calls, so that what is bred does not depend on which
    process was quicker. ``enough`` is asked about each answer, and ends it in the midst of a call.
    """
    first = [trial for trial in (breed() for _ in range(ahead)) if trial is not None]
    sizes = {trial.number: len(trial.logits) for trial in first}
    parts: dict[int, list[Answer]] = {number: [] for number in sizes}
    for trial, outcome in pools.evaluate(first):
        answer = Answer(trial, outcome)
        parts[trial.number].append(answer)
        if enough(answer):
            yield from map(_in_order, parts.values())
            return
        while sizes and sum(len(a.trial.logits) for a in parts[min(sizes)]) == sizes[min(sizes)]:
            number = min(sizes)
            del sizes[number]
            yield _in_order(parts.pop(number))
            following = breed()
            if following is not None:
                sizes[following.number] = len(following.logits)
                parts[following.number] = []
                pools.add(following)


def _in_order(answers: Iterable[Answer]) -> list[Answer]:
    return sorted(answers, key=lambda answer: answer.trial.start)


@dataclass(frozen=True)
class Budget:
    """How long to search: for so many evaluations if they are given, else for so many seconds."""

    seconds: float
    evaluations: int | None

    @property
    def total(self) -> float:
        return self.seconds if self.evaluations is None else self.evaluations

    def used(self, evaluations: int, since: float) -> float:
        return time.monotonic() - since if self.evaluations is None else evaluations


@dataclass(eq=False)
class Search:
    """A hunt under way in one cell.

    Attributes:
        floors: the catalogue's worst score of each quantity, which is to be passed; under None that of a row without an
            answer.
        bred, answered: rows that have been sent out, and that have come back.
    """

    pools: Pools
    cell: Cell
    fmt: Format
    population: Population
    floors: dict[str | None, float]
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
        """Search until the budget is spent, somebody interrupts, or too many rows have killed the worker."""
        self.began = time.monotonic()
        self._first = [rows for width in WIDTHS for rows in self.population.first(width)]
        with suppress(KeyboardInterrupt):  # what has been found until then is kept
            for answers in stream(self.pools, lambda: self._breed(budget), self._enough):
                for answer in answers:
                    self._learn(answer)
                if progress is not None:
                    label = f"{self.answered:,} rows tried, {len(self._passed)} kinds of row worse than the catalogue's"
                    total = max(1, int(budget.total))
                    progress(min(total, int(budget.used(self.answered, self.began))), total, label)

    def found(self) -> list[Member]:
        """The members that are worse than the catalogue, the worst first."""
        worse = [m for m in self.population.members.values() if self._passes(m)]
        return sorted(worse, key=lambda m: m.score, reverse=True)

    def _passes(self, member: Member) -> bool:
        return member.score > self.floors[member.kind.quantity] + MARGIN

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
                found[start : start + len(answer.trial.logits)] = self._scores_of(answer, quantity)
            return found[: len(x)]

        return of

    def _breed(self, budget: Budget) -> Trial | None:
        if budget.used(self.bred, self.began) >= budget.total:
            return None
        if self._first:
            x, t = self._first.pop(0)
        else:
            x, t = self.population.children(int(self.rng.choice(WIDTHS, p=SHARES / SHARES.sum())))
        self.bred += len(x)
        return self._trial(x, t)

    def _enough(self, answer: Answer) -> bool:
        """Whether the search has to end with this answer."""
        self._dead += answer.outcome.status in (Status.CRASHED, Status.TIMEOUT)
        return self._dead >= MAX_DEAD

    def _trial(self, x: Float64, t: Index) -> Trial:
        self._calls += 1
        return Trial(self.cell, x.astype(self.fmt.dtype), t, number=self._calls)

    def _learn(self, answer: Answer) -> None:
        """Take the rows of an answer into the population."""
        trial = answer.trial
        self.answered += len(trial.logits)
        exact = approximate_reference(trial.logits, trial.targets, self.fmt)
        of_rows = row_kinds(trial.logits.astype(np.float64), trial.targets, exact)
        if answer.outcome.status in FAULTS:  # it is a row of its own: a call that fails is divided until then
            self._take(self._member(answer, None, of_rows[0], 0, NO_ANSWER))
        for quantity, found in self._scored_quantities(answer, exact).items():
            for r in self.population.better(quantity, of_rows, found.score, trial.logits.shape[1]).tolist():
                self._take(self._member(answer, quantity, of_rows[r], r, float(found.score[r])))

    def _take(self, member: Member) -> None:
        self.population.take(member)
        if self._passes(member):
            self._passed.add(member.kind)

    def _member(self, answer: Answer, quantity: str | None, sort: int, r: int, score: float) -> Member:
        x, t = answer.trial.logits[r].astype(np.float64), int(answer.trial.targets[r])
        return Member(Kind(quantity, x.size, sort), score, x, t, breeds=quantity is not None)

    def _scored_quantities(self, answer: Answer, exact: Reference) -> dict[str, Scored]:
        return {
            quantity: score(quantity, computed, answer.trial.logits, self.fmt, exact, self.measure)
            for quantity, computed in answer.values.items()
            if quantity in self.floors
        }

    def _scores_of(self, answer: Answer, quantity: str) -> Float64:
        x, t = answer.trial.logits, answer.trial.targets
        if quantity not in answer.values:
            return np.full(len(x), NOT_GRADED)
        return self._scored_quantities(answer, approximate_reference(x, t, self.fmt))[quantity].score
