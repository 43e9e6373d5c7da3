"""Compare the bits of a user's loss, width by width, and find the smallest call that changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....core.bitwise import Compared, Property
from ....core.errors import UsageError
from ....core.formats import FORMATS, get_format
from ....core.progress import Progress
from ....core.vocabulary import Quantity, Status
from ....execution.bitwise import QUICK_WIDTHS, ROWS, WIDTHS, Plan, Rows, Trial, planned_call, threads_of, try_width
from ....execution.worker import Outcome
from ....frameworks import Batch
from ..batches._limits import Limits
from ..forms._layout import held_targets
from ..judging._warnings import gathered_warnings
from ..measuring._loss import Candidate
from ._program import BitwiseProgram, Question, shown
from ._result import COLUMNS, BitwiseResult

TRIED = 3  # programs of differences, until one shows its difference in a new process


def check_bitwise(
    candidate: Candidate,
    asked: Sequence[str],
    limits: Limits,
    progress: Progress | None = None,
    on_failure: Callable[[str], None] | None = None,
    *,
    run_script: bool = True,
) -> BitwiseResult:
    """Compare the bits of each row in all calls of the plan, in each dtype.

    Args:
        candidate: the loss.
        asked: the dtypes that it must support; empty for all that it supports.
        limits: the sizes that are tried.
        progress: called with the widths done, their number, and the current one.
        on_failure: called with one line about the first difference.
        run_script: whether to run the program of a difference in a new process.

    Raises:
        UsageError: if no call returns row losses.
        KeyboardInterrupt: on Ctrl-C before any difference is found.
    """
    plan = plan_of(candidate, limits)
    found: list[tuple[object, ...]] = []
    questions: list[Question] = []
    work = [(dtype, classes) for dtype in limits.dtypes(asked or tuple(FORMATS)) for classes in _widths(limits)]
    complete = True
    with gathered_warnings() as warned:
        try:
            for done, (dtype, classes) in enumerate(work):
                if progress is not None:
                    progress(done, len(work), f"{dtype}, {classes:,} classes")
                trial = _trial(candidate, plan, dtype, classes)
                found += _lines(trial, dtype, classes)
                differing = [each for each in trial.compared if not each.held]
                if differing and not questions and on_failure is not None:
                    on_failure(_sentence(differing[0], dtype, classes))
                questions += [
                    Question(dtype, classes, each, planned_call(plan, classes, each.call)) for each in differing
                ]
        except KeyboardInterrupt:
            if not questions:
                raise
            complete = False
    lines = pd.DataFrame(found, columns=list(COLUMNS))
    _require_results(candidate, lines)
    program = _program(candidate, plan, questions, progress, run=run_script)
    letters = ("", "", "")  # no grade is required
    return BitwiseResult(
        candidate.name, candidate.framework.name, candidate.version, candidate.device, candidate.mode, *letters, (),
        lines, tuple(asked), None, complete, limits, candidate.form,
        gradient_checked="gradient" in candidate.quantities, warnings=warned.each(), searched=bool(questions),
        program=program, sets_threads=bool(plan.threads),
    )  # fmt: skip


def plan_of(candidate: Candidate, limits: Limits) -> Plan:
    """Return the calls of each width."""
    framework, few = candidate.framework, candidate.framework.compiles_shapes(candidate.mode)
    rows = ROWS if limits.max_rows is None else min(ROWS, limits.max_rows)
    return Plan(rows, limits.max_rows, few_shapes=few, large=not (few or limits.quick), threads=threads_of(framework))


def _widths(limits: Limits) -> list[int]:
    return limits.widths(QUICK_WIDTHS if limits.quick else WIDTHS) or [limits.nearest(1, WIDTHS[1])[1]]


def _trial(candidate: Candidate, plan: Plan, dtype: str, classes: int) -> Trial:
    rows = Rows.of(classes, get_format(dtype))
    if not held_targets(rows.targets, rows.logits, candidate.form).all():
        return Trial()

    def call(logits: NDArray[Any], targets: NDArray[np.int64]) -> Outcome:
        return candidate.call(Batch(logits, targets, candidate.plain_options.reduction), candidate.plain_options)

    return try_width(plan, rows, call, candidate.framework.threads)


def _lines(trial: Trial, dtype: str, classes: int) -> Iterator[tuple[object, ...]]:
    """Yield the lines of a width, in the columns `COLUMNS`."""
    for c in trial.compared:
        yield (
            dtype, classes, c.kind.value, c.quantity, c.rows, c.different, c.max_ulp, c.row, c.where,
            Status.OK.value, "",
        )  # fmt: skip
    for fault in trial.faults:
        kind = (fault.kind or Property.REPEATED).value
        yield (
            dtype, classes, kind, Quantity.LOSS.value, 0, 0, 0.0, -1, fault.where, fault.status.value, fault.detail,
        )  # fmt: skip


def _sentence(found: Compared, dtype: str, classes: int) -> str:
    return f"{dtype}, {classes:,} classes, {found.where}: the {found.quantity} of row {found.row} has other bits"


def _require_results(candidate: Candidate, lines: pd.DataFrame) -> None:
    """Raise a UsageError, with the error of the first call, if no call has a result."""
    if lines["status"].eq(Status.OK).any():
        return
    why = f"every call fails, the first with {lines['detail'].iloc[0]}" if len(lines) else "no width holds its targets"
    raise UsageError(
        f"cannot compare the bits of {candidate.name}: {why}; expected {candidate.form.rows} of "
        f"{candidate.form.arguments}"
    )


def _program(
    candidate: Candidate, plan: Plan, questions: Sequence[Question], progress: Progress | None, *, run: bool
) -> BitwiseProgram | None:
    """Return the program of a difference: of those that show it in a new process, the smallest."""
    smallest = sorted(questions, key=lambda question: question.rank)[:TRIED]
    if smallest and progress is not None:
        progress(1, 1, "writing a program that shows a difference")
    first: BitwiseProgram | None = None
    for question in smallest:
        program = shown(candidate, plan, question, run=run)
        if not run or program.shows:
            return program
        first = first or program
    return first
