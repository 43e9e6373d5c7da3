"""The trial of a loss at one width: its calls, and the comparison of each row's bits with those among all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.bitwise import Compared, Property
from ...core.vocabulary import Status
from ..worker import Outcome
from ._distance import ulps_apart
from ._rows import Plan, Presented, Rows

Array = NDArray[Any]
Results = Mapping[str, Array]
# Takes logits (B, C) and targets (B,) of one call; both are its own.
CallLoss = Callable[[Array, Array], Outcome]
# Returns a context with this number of threads.
WithThreads = Callable[[int], AbstractContextManager[Any] | None]


@dataclass(frozen=True)
class Fault:
    """A call without a result: what it was, and why it has none; ``kind`` is None for the first calls."""

    kind: Property | None
    where: str
    status: Status
    detail: str


@dataclass(frozen=True)
class Trial:
    """The result of a trial.

    Attributes:
        compared: for each property and quantity, how many rows keep their bits.
        faults: the calls without a result. If the first call has none, no other was made.
        results: the results of the rows of `Plan.singles`, among others (``batch loss``) and alone (``alone loss``),
            for a comparison with another process.
    """

    compared: tuple[Compared, ...] = ()
    faults: tuple[Fault, ...] = ()
    results: tuple[tuple[str, Array], ...] = ()


@dataclass(eq=False)
class _Trial:
    rows: Rows
    call: CallLoss
    with_threads: WithThreads

    def results(self, presented: Presented) -> tuple[Results, Fault | None]:
        """Return the results of a call by quantity, or its fault."""
        context = nullcontext() if presented.threads is None else self.with_threads(presented.threads)
        logits, targets = self.rows.logits[presented.rows], self.rows.targets[presented.rows]
        with context or nullcontext():
            outcome = self.call(logits, targets)
        if outcome.status is not Status.OK:
            return {}, Fault(presented.kind, presented.words, outcome.status, outcome.detail)
        return dict(outcome.values), None


def first_results(plan: Plan, rows: Rows, call: CallLoss) -> Trial:
    """Return the results of rows among others and alone, without any comparison."""
    trial = _Trial(rows, call, lambda _: None)
    base, fault = trial.results(plan.base)
    if fault is not None:
        return Trial(faults=(fault,))
    singles, faults = _each_alone(trial, plan)
    return Trial(faults=faults, results=_kept(plan, base, singles))


def try_width(plan: Plan, rows: Rows, call: CallLoss, with_threads: WithThreads) -> Trial:
    """Call a loss with the rows of a width in each presentation of the plan, and compare their bits."""
    trial = _Trial(rows, call, with_threads)
    base, fault = trial.results(plan.base)
    if fault is not None:
        return Trial(faults=(fault,))
    singles, faults = _each_alone(trial, plan)
    found: dict[tuple[Property, str], Compared] = {}
    lone: dict[int, Results] = {}
    number = 0
    for presented, of_row in singles:
        number += 1
        lone[int(presented.rows[0])] = of_row
        if plan.rows > 1:
            _add(found, presented, number, of_row, base)
    for presented in plan.others(rows.logits.shape[1]):
        number += 1
        results, fault = trial.results(presented)
        if fault is not None:
            faults = (*faults, fault)
            continue
        # Of a row alone, only the threads or the call differ, not the batch.
        against = lone.get(int(presented.rows[0])) if presented.alone else None
        _add(found, presented, number, results, base if against is None else against, whole=against is None)
    return Trial(tuple(found.values()), faults, _kept(plan, base, singles))


def planned_call(plan: Plan, classes: int, number: int) -> Presented:
    """Return the call of a plan that has this number, as in `Compared`."""
    return (plan.base, *plan.singles, *plan.others(classes))[number]


def compare_processes(one: Trial, other: Trial, plan: Plan, where: str) -> Iterator[Compared]:
    """Yield the comparison of the results of two processes that differ in their number of threads."""
    rows = [int(presented.rows[0]) for presented in plan.singles]
    theirs = dict(other.results)
    by_quantity: dict[str, Compared] = {}
    for name, values in one.results:
        kind, _, quantity = name.partition(" ")
        apart = ulps_apart(values, theirs[name])
        words = f"{'alone' if kind == 'alone' else plan.base.words}, {where}"
        before = by_quantity.get(quantity, Compared(Property.THREADS, quantity))
        by_quantity[quantity] = _joined(before, apart, np.array(rows), words, -1)
    yield from by_quantity.values()


def _each_alone(trial: _Trial, plan: Plan) -> tuple[list[tuple[Presented, Results]], tuple[Fault, ...]]:
    found = [(presented, *trial.results(presented)) for presented in plan.singles]
    return [(p, results) for p, results, fault in found if fault is None], tuple(f for *_, f in found if f is not None)


def _kept(plan: Plan, base: Results, singles: list[tuple[Presented, Results]]) -> tuple[tuple[str, Array], ...]:
    """Return the results for a comparison with another process; none if a row alone has no results."""
    if len(singles) < len(plan.singles):
        return ()
    rows = [int(presented.rows[0]) for presented, _ in singles]
    among = [(f"batch {name}", values[rows]) for name, values in base.items()]
    alone = [(f"alone {name}", np.concatenate([results[name] for _, results in singles])) for name in base]
    return (*among, *alone)


def _add(
    found: dict[tuple[Property, str], Compared],
    presented: Presented,
    number: int,
    results: Results,
    against: Results,
    *,
    whole: bool = True,
) -> None:
    """Add the comparison of a call; ``whole`` if it is compared with the batch of all rows."""
    assert presented.kind is not None  # noqa: S101 - for the type checker: the base is not compared
    own = np.flatnonzero(presented.rows < len(against["loss"])) if whole else np.arange(len(presented.rows))
    rows = presented.rows[own]
    for quantity, values in results.items():
        apart = ulps_apart(values[own], against[quantity][rows] if whole else against[quantity])
        key = presented.kind, quantity
        before = found.get(key, Compared(presented.kind, quantity))
        joined = _joined(before, apart, rows, presented.words, number)
        # The same row may stand at many places of a large batch.
        found[key] = joined if joined.call != number else replace(joined, place=int(own[np.argmax(apart)]))


def _joined(before: Compared, apart: NDArray[np.float64], rows: NDArray[np.intp], where: str, call: int) -> Compared:
    """Return a comparison with the rows of one more call; of equal distances the first call stays."""
    found = replace(before, rows=before.rows + len(apart), different=before.different + int((apart > 0).sum()))
    worst = int(np.argmax(apart))
    if apart[worst] <= before.max_ulp:
        return found
    return replace(found, max_ulp=float(apart[worst]), row=int(rows[worst]), where=where, call=call)
