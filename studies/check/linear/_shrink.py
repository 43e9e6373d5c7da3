"""The smallest batch that still fails, and the program that shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..measuring._lines import Required
from ..reproducing._program import ProgramRun
from ._candidate import LinearCandidate
from ._lines import LinearLine
from ._presentations import How, measured
from ._program import program, run_program
from ._question import Array, Question

SECONDS = 12.0  # of the search
TRIED = 3  # failing batches that are made smaller
MAX_LEFT_OUT = 12  # rows, classes or features that are left out one by one
MAX_WRITTEN = 6_000  # numbers of a program


@dataclass(frozen=True, eq=False)
class SmallestBatch:
    """The smallest failing batch that was found.

    Attributes:
        question, how: the batch and its presentation.
        line: its worst line.
        script: the program; None if the batch has too many numbers.
        run: what the program printed in a new process; None if it was not run.
    """

    question: Question
    how: How
    line: LinearLine
    script: str | None
    run: ProgramRun | None = None


def smallest_failing(
    candidate: LinearCandidate, failing: Sequence[tuple[Question, How]], required: Required, *, run: bool
) -> SmallestBatch | None:
    """Return the smallest batch that fails, made smaller as long as it does; None if none fails again."""
    until = time.monotonic() + SECONDS
    # A failure of the batch as given is that of the loss itself, and not of its presentation.
    plain = [(q, how) for q, how in failing if how is How.GIVEN]
    found = None
    for question, how in sorted(plain or failing, key=lambda both: both[0].size)[:TRIED]:
        line = _worst(candidate, question, how, required, None)
        if line is None:
            continue  # it fails only sometimes
        smaller = _shrunk(candidate, question, how, required, line.quantity, until)
        if found is None or smaller.size < found[0].size:
            found = smaller, how, _worst(candidate, smaller, how, required, line.quantity) or line
    if found is None:
        return None
    question, how, line = found
    if question.size > MAX_WRITTEN:
        return SmallestBatch(question, how, line, None)
    script = program(candidate, question, how, line)
    if not run:
        return SmallestBatch(question, how, line, script)
    return SmallestBatch(question, how, line, *run_program(candidate, question, how, line, script))


def _worst(
    candidate: LinearCandidate, question: Question, how: How, required: Required, quantity: str | None
) -> LinearLine | None:
    """Return the first failing line of a batch, of one quantity or of any."""
    lines = measured(candidate, question, how)
    failed = [line for line in lines if line.fails(required) and quantity in (None, line.quantity)]
    return max(failed, key=lambda line: (line.grade or "", line.max_ulp), default=None)


def _shrunk(
    candidate: LinearCandidate, question: Question, how: How, required: Required, quantity: str, until: float
) -> Question:
    """Return the batch without all that the failure does not need."""
    best, again = question, True
    while again:
        again = False
        for smaller in _smaller(best):
            if time.monotonic() > until:
                return best
            if _worst(candidate, smaller, how, required, quantity) is not None:
                best, again = smaller, True
                break
    return best


def _smaller(question: Question) -> Iterator[Question]:
    """Yield batches with fewer rows, classes or features, then with rounder numbers."""
    rows, features = question.hidden.shape
    for kept in _fewer(rows):
        yield question.take(kept)
    for kept in _fewer(len(question.weight)):
        yield _of_classes(question, kept)
    for kept in _fewer(features):
        yield _with(question, hidden=question.hidden[:, kept], weight=question.weight[:, kept])
    for unit in (1.0, 0.25):
        if any(not _is_round(array, unit) for array in question.leaves.values()):
            yield _with(question, **{name: _rounded(array, unit) for name, array in question.leaves.items()})
        else:
            return


def _fewer(number: int) -> Iterator[Array]:
    """Yield the indices of fewer rows: of one half, the other, and of all but one."""
    if number < 2:
        return
    half = number // 2
    yield np.arange(half)
    yield np.arange(half, number)
    if number <= MAX_LEFT_OUT:
        for left_out in range(number):
            yield np.delete(np.arange(number), left_out)
        return
    for few in (number // 8, 1):
        yield np.arange(number - few)
        yield np.arange(few, number)


def _of_classes(question: Question, kept: Array) -> Question:
    """Return the batch with some of the classes; another target becomes the last one."""
    places = np.full(len(question.weight), len(kept) - 1)
    places[kept] = np.arange(len(kept))
    ignored = question.options.values.get("ignore_index")
    t = question.targets
    inside = (t >= 0) & (t < len(places))
    targets = np.where(inside, places[np.where(inside, t, 0)], t)
    if ignored is not None:
        targets = np.where(t == ignored, ignored, targets)
    options = question.options
    if "weight" in options.values:
        options = replace(options, values=dict(options.values) | {"weight": options.values["weight"][kept]})
    bias = None if question.bias is None else question.bias[kept]
    return replace(
        question, weight=question.weight[kept], bias=bias, targets=targets, options=options, parts={}, _standards={}
    )


def _with(question: Question, **arrays: Array) -> Question:
    return replace(question, **arrays, parts={}, _standards={})  # type: ignore[arg-type]


def _rounded(array: Array, unit: float) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        # Adding 0 makes -0 a 0.
        return (np.round(array.astype(np.float64) / unit) * unit + 0.0).astype(array.dtype)


def _is_round(array: Array, unit: float) -> bool:
    return bool(np.array_equal(_rounded(array, unit), array, equal_nan=True))
