"""The presentations of a batch: each must give the same result, or one that is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from ....core.vocabulary import Quantity, Status
from ..measuring._lines import DIFFERS, WRONG
from ._candidate import AS_GIVEN, LinearCall, LinearCandidate, Ran
from ._lines import LinearLine, graded_lines, ungraded
from ._question import Array, Question

UPSTREAM = -0.5  # an upstream gradient; a power of two, so that the exact gradients are known


class How(StrEnum):
    """The presentation of a batch, in words."""

    GIVEN = "as given"
    REVERSED = "rows in reverse order"
    EVEN = "every other row alone"
    ODD = "the rows between alone"
    STRIDED = "strided memory"
    TRANSPOSED = "transposed memory"
    AGAIN = "called again"
    BETWEEN = "another batch before its gradients"
    SCALED = f"upstream gradient of {UPSTREAM:g}"
    IN_TURN = f"upstream gradient of {UPSTREAM:g} and 0 in turn"
    TWICE = "differentiated a second time"
    HIDDEN_ALONE = "a gradient by hidden alone"
    WEIGHT_ALONE = "a gradient by weight alone"
    UNTRACKED = "without a gradient"


Lines = Iterator[LinearLine]


def _graded(question: Question, how: How, values: Mapping[str, Array], factor: float = 1.0) -> Lines:
    """Yield the lines of one pass; ``factor`` is that of its gradients."""
    for name, computed in values.items():
        own = 1.0 if name == Quantity.LOSS else factor
        yield from graded_lines(question, Quantity(name), computed, how, factor=own)


def _faults(question: Question, ran: Ran, how: How) -> Lines:
    if ran.status is not Status.OK:
        lacking = next((q for q in question.quantities if not ran.passes or q not in ran.passes[-1]), Quantity.LOSS)
        yield ungraded(question, how, quantity=lacking, status=ran.status.value, detail=ran.detail)
    if ran.written is not None:
        yield ungraded(question, how, verdict=WRONG, detail=f"the loss writes into its {ran.written}")


def _called(call: LinearCall, how: How, candidate: LinearCandidate, question: Question, factor: float = 1.0) -> Lines:
    """Yield the lines of the last pass of a call."""
    ran = candidate.run(question, call)
    if ran.passes:
        yield from _graded(question, how, ran.passes[-1], factor)
    yield from _faults(question, ran, how)


def _reversed(candidate: LinearCandidate, question: Question) -> Lines:
    ran = candidate.run(question.take(np.arange(len(question.hidden))[::-1]))
    for values in ran.passes:
        back = {name: v if v.ndim == 0 or Quantity(name).of_batch else v[::-1] for name, v in values.items()}
        yield from _graded(question, How.REVERSED, back)
    yield from _faults(question, ran, How.REVERSED)


def _rows_alone(start: int, how: How, candidate: LinearCandidate, question: Question) -> Lines:
    yield from _called(AS_GIVEN, how, candidate, every_other(question, start))


def every_other(question: Question, start: int) -> Question:
    """Return every other row, built once for all presentations."""
    key = f"rows from {start}"
    if key not in question.parts:
        question.parts[key] = question.take(np.arange(start, len(question.hidden), 2))
    return question.parts[key]


def _again(candidate: LinearCandidate, question: Question) -> Lines:
    ran = candidate.run(question, LinearCall(calls=2))
    yield from _faults(question, ran, How.AGAIN)
    if len(ran.passes) < 2:
        return
    first, second = ran.passes
    yield from _graded(question, How.AGAIN, second)
    for name in first.keys() & second.keys():
        if first[name].tobytes() != second[name].tobytes():
            detail = "other bits in the second of two equal calls"
            yield ungraded(question, How.AGAIN, quantity=Quantity(name), verdict=DIFFERS, detail=detail)


def _factor(candidate: LinearCandidate, question: Question) -> Lines:
    yield from _called(LinearCall(upstream=UPSTREAM), How.SCALED, candidate, question, UPSTREAM)


def _twice(candidate: LinearCandidate, question: Question) -> Lines:
    """Yield the second of two passes, under an upstream gradient that a gradient scaled in place shows."""
    yield from _called(LinearCall(upstream=UPSTREAM, passes=2), How.TWICE, candidate, question, UPSTREAM)


def upstream_in_turn(rows: int) -> Array:
    """Return an upstream gradient (B,) of `UPSTREAM` and 0 in turn."""
    return np.where(np.arange(rows) % 2, 0.0, UPSTREAM)


def _vector(candidate: LinearCandidate, question: Question) -> Lines:
    how, even = How.IN_TURN, every_other(question, 0)
    ran = candidate.run(question, LinearCall(upstream=upstream_in_turn(len(question.hidden))))
    yield from _faults(question, ran, how)
    for values in ran.passes:
        for name, computed in values.items():
            quantity = Quantity(name)
            if quantity == Quantity.LOSS:
                continue  # the same as without this upstream gradient
            of_even = computed if quantity.of_batch else computed[::2]
            yield from graded_lines(even, quantity, of_even, how, factor=UPSTREAM)
            if not quantity.of_batch and np.any(computed[1::2] != 0):
                detail = "a row whose upstream gradient is 0 has another gradient by hidden"
                yield ungraded(question, how, quantity=quantity, verdict=WRONG, detail=detail)


@dataclass(frozen=True)
class Presentation:
    """A presentation of a batch.

    Attributes:
        property: the property of a good loss that only this presentation tests.
        run: yields the lines of a loss and a batch.
        differentiates: whether it needs a derivative.
        rows: the fewest rows.
        of_rows: whether it needs row losses.
        strides: whether it needs arrays of any memory layout.
    """

    property: str
    run: Callable[[LinearCandidate, Question], Lines]
    differentiates: bool = False
    rows: int = 1
    of_rows: bool = False
    strides: bool = False

    def suits(self, candidate: LinearCandidate, question: Question) -> bool:
        """Return whether the loss and the batch allow it."""
        return (
            (candidate.differentiates or not self.differentiates)
            and len(question.hidden) >= self.rows
            and not (self.of_rows and question.reduced)
            and (candidate.framework.strides or not self.strides)
        )


def _by(name: str) -> LinearCall:
    return LinearCall(by=(name,))


PRESENTATIONS: dict[How, Presentation] = {
    How.GIVEN: Presentation("", partial(_called, AS_GIVEN, How.GIVEN)),
    How.REVERSED: Presentation("rows in any order", _reversed, rows=2),
    How.EVEN: Presentation("rows independent of each other", partial(_rows_alone, 0, How.EVEN), rows=2),
    How.ODD: Presentation("rows independent of each other", partial(_rows_alone, 1, How.ODD), rows=2),
    How.STRIDED: Presentation(
        "right in every layout", partial(_called, LinearCall("strided"), How.STRIDED), strides=True
    ),
    How.TRANSPOSED: Presentation(
        "right in every layout", partial(_called, LinearCall("transposed"), How.TRANSPOSED), strides=True
    ),
    How.AGAIN: Presentation("calls independent of each other", _again),
    How.BETWEEN: Presentation(
        "calls independent of each other", partial(_called, LinearCall(between=True), How.BETWEEN), differentiates=True
    ),
    How.SCALED: Presentation("gradient passed on from above", _factor, differentiates=True),
    How.IN_TURN: Presentation("gradient passed on from above", _vector, differentiates=True, rows=2, of_rows=True),
    How.TWICE: Presentation("differentiated twice", _twice, differentiates=True),
    How.HIDDEN_ALONE: Presentation(
        "each gradient alone", partial(_called, _by("hidden"), How.HIDDEN_ALONE), differentiates=True
    ),
    How.WEIGHT_ALONE: Presentation(
        "each gradient alone", partial(_called, _by("weight"), How.WEIGHT_ALONE), differentiates=True
    ),
    How.UNTRACKED: Presentation(
        "the same without its gradient", partial(_called, LinearCall(tracked=False), How.UNTRACKED), differentiates=True
    ),
}  # fmt: skip
ARGUMENTS = "arguments left as they are"
PROPERTIES = (*dict.fromkeys(p.property for p in PRESENTATIONS.values() if p.property), ARGUMENTS)
QUICK = (How.GIVEN, How.REVERSED, How.SCALED, How.IN_TURN)
SOME = (How.GIVEN, How.REVERSED, How.SCALED)


def measured(candidate: LinearCandidate, question: Question, how: How) -> list[LinearLine]:
    """Return the lines of a batch in one presentation; none if the loss or the batch does not allow it."""
    presentation = PRESENTATIONS[how]
    return list(presentation.run(candidate, question)) if presentation.suits(candidate, question) else []
