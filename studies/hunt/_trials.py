"""Rows on their way through the implementation in its worker, and what came back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...execution.plan import Call
from ...execution.pool import Pools
from ...execution.worker import Outcome
from ...frameworks import Batch

Array = NDArray[Any]

PARTS = 8  # that a failing call is divided into, until one row is to blame
FAULTS = ("raised", "crashed", "timeout")


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

    @property
    def faulty(self) -> bool:
        return self.outcome.status in FAULTS

    @property
    def deadly(self) -> bool:
        """Whether the worker died or hung."""
        return self.faulty and self.outcome.status != "raised"


def stream(
    pools: Pools, breed: Callable[[], Trial | None], enough: Callable[[Answer], bool], ahead: int = 2
) -> Iterator[list[Answer]]:
    """Calls bred one after the other, ``ahead`` of them before the first is answered, until there are no more.

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
