"""The search: breed calls from the population, run them in a worker, score the rows, keep the worst of each kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format, get_format
from ...core.options import LossOptions, OptionValues
from ...core.progress import Progress
from ...core.vocabulary import Status
from ...execution.plan import Call, Cell
from ...execution.pool import Pools
from ...execution.worker import Outcome
from ...frameworks import Batch
from ...oracle import Reference, reference
from ._approximate_reference import approximate_reference
from ._mutations import Changed, Rng
from ._population import LOGITS, WIDTHS, Kind, Member, Population, row_kinds, rows_of
from ._score import NO_ANSWER, NOT_GRADED, Scored, score

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

# How often each width is chosen: wide calls have fewer rows and take as long.
SHARES = np.array([min(1.0, rows_of(w) * 64 / LOGITS) for w in WIDTHS])
MARGIN = 1e-3  # of a grade: the accuracy of scores
MAX_DEAD = 3  # rows that crash or hang the worker before the search stops: each may cost minutes
PARTS = 8  # a failing call is divided into this many parts until one row fails
FAULTS = (Status.RAISED, Status.CRASHED, Status.TIMEOUT)


@dataclass(frozen=True, eq=False)
class Trial(Call):
    """Rows for a cell in one call, or a part of the call ``number`` that starts with its row ``start``."""

    logits: Array
    targets: Array
    number: int = 0
    start: int = 0
    options: OptionValues = field(default_factory=OptionValues)

    def batch(self) -> Batch:
        fmt = get_format(self.cell.dtype)
        return Batch(self.logits, self.targets, options=self.options, format=fmt if fmt.is_hosted else None)

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
    """The outcome of a call, or of a part of a call that failed."""

    trial: Trial
    outcome: Outcome

    @property
    def values(self) -> dict[str, Array]:
        return dict(self.outcome.values)


def stream(
    pools: Pools, breed: Callable[[], Trial | None], enough: Callable[[Answer], bool], ahead: int = 2
) -> Iterator[list[Answer]]:
    """Breed calls, run them with ``ahead`` in progress, and yield the answers of each call.

    Answers are yielded in the order of the calls, so that the next calls do not depend on the speed of processes. The
    stream ends when ``breed`` returns None, or at once when ``enough`` returns True for an answer.
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
    """The length of a search: a number of evaluations if given, else of seconds."""

    seconds: float
    evaluations: int | None

    @property
    def total(self) -> float:
        return self.seconds if self.evaluations is None else self.evaluations

    def used(self, evaluations: int, since: float) -> float:
        return time.monotonic() - since if self.evaluations is None else evaluations


@dataclass(eq=False)
class Search:
    """The search of a hunt in one cell.

    Attributes:
        loss_options: the options of all rows.
        floors: the catalogue's worst score of each quantity, to be exceeded; the key None is for rows without an
        answer. bred, answered: the number of rows sent to workers and of rows answered.
    """

    pools: Pools
    cell: Cell
    fmt: Format
    population: Population
    floors: dict[str | None, float]
    measure: str
    rng: Rng
    loss_options: LossOptions = field(default_factory=LossOptions)
    bred: int = 0
    answered: int = 0
    began: float = field(default_factory=time.monotonic)
    _calls: int = 0
    _dead: int = 0
    _passed: set[Kind] = field(default_factory=set)
    _first: list[Changed] = field(default_factory=list)

    def run(self, budget: Budget, progress: Progress | None = None) -> None:
        """Search until the budget is exhausted, Ctrl-C is pressed, or too many rows have crashed the worker."""
        self.began = time.monotonic()
        self._first = [rows for width in WIDTHS for rows in self.population.first(width)]
        with suppress(KeyboardInterrupt):  # keep the findings so far
            for answers in stream(self.pools, lambda: self._breed(budget), self._enough):
                for answer in answers:
                    self._learn(answer)
                if progress is not None:
                    label = f"{self.answered:,} rows tried, {len(self._passed)} kinds of row worse than the catalogue's"
                    total = max(1, int(budget.total))
                    progress(min(total, int(budget.used(self.answered, self.began))), total, label)

    def found(self) -> list[Member]:
        """Return the members that are worse than the catalogue, the worst first."""
        worse = [m for m in self.population.members.values() if self._passes(m)]
        return sorted(worse, key=lambda m: m.score, reverse=True)

    def _passes(self, member: Member) -> bool:
        return member.score > self.floors[member.kind.quantity] + MARGIN

    def scores(self, quantity: str) -> Callable[[Float64, Index], Float64]:
        """Return a function that scores rows (k, C) with targets (k,) in a quantity, by calls of the search's shape."""

        def of(x: Float64, t: Index) -> Float64:
            size = rows_of(x.shape[1])
            # The last call is filled up: a framework would compile another shape.
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
        """Return whether the search must end after this answer."""
        self._dead += answer.outcome.status in (Status.CRASHED, Status.TIMEOUT)
        return self._dead >= MAX_DEAD

    def _trial(self, x: Float64, t: Index) -> Trial:
        self._calls += 1
        return Trial(self.cell, x.astype(self.fmt.dtype), t, number=self._calls, options=self._options)

    @cached_property
    def _options(self) -> OptionValues:
        return self.loss_options.options(self.fmt)

    def exact(self, logits: Array, targets: Index) -> Reference:
        """Return the exact answers of rows, or answers that are accurate to a thousandth of any bound."""
        if self._options:
            return reference(logits, targets, keep=False, **self._options)
        return approximate_reference(logits, targets, self.fmt)

    def _learn(self, answer: Answer) -> None:
        """Take the rows of an answer into the population."""
        trial = answer.trial
        self.answered += len(trial.logits)
        exact = self.exact(trial.logits, trial.targets)
        of_rows = row_kinds(trial.logits.astype(np.float64), trial.targets, exact)
        if answer.outcome.status in FAULTS:  # a single row: a call that fails is divided until it is one
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
        return self._scored_quantities(answer, self.exact(x, t))[quantity].score
