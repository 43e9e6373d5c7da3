"""``check`` of a loss of hidden states: every batch in every presentation, each graded against the exact answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ....cases import LinearCase
from ....core.errors import UsageError
from ....core.formats import FORMATS, Format, get_format
from ....core.interpreting import INTERPRETED
from ....core.progress import Progress
from ....core.vocabulary import Status
from ....execution.variants import base
from ....frameworks import Framework
from ..batches._limits import Failed, Limits
from ..judging._warnings import gathered_warnings
from ..measuring._lines import Required
from ._callee import LinearCallee
from ._candidate import LinearCandidate
from ._chosen import chosen
from ._lines import LinearLine, table
from ._presentations import PRESENTATIONS, QUICK, SOME, How, measured
from ._question import Question
from ._result import LinearCheckResult
from ._seeded import FEW_SIZES, PREFIX
from ._shrink import smallest_failing

# Rows, features and classes of the calls that show whether a loss can be measured: no two sizes are equal in the first,
# and blocks divide the second.
PROBED = ((3, 5, 4), (128, 64, 256))
ALL_PRESENTED = f"{PREFIX}b"  # the seeded batches that are tried in every presentation, if they are not large
MAX_ROWS = 16
MAX_PRESENTED = 2**21  # rows x features x classes


@dataclass(frozen=True)
class LinearSettings:
    """The settings of a check.

    Attributes:
        require: the required grade, as given.
        required: the required grades.
        dtypes: the dtypes given by name.
        cases: globs over ``family/name``.
        quick, first, shrink, run_script: as in `check`.
        failed: the failures of an earlier check, whose dtypes and cases alone are tried.
    """

    require: str
    required: Required
    dtypes: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    quick: bool = False
    first: bool = False
    shrink: bool = True
    run_script: bool = True
    failed: Failed | None = None


def check_linear(
    callee: LinearCallee,
    framework: Framework,
    device: str,
    mode: str,
    settings: LinearSettings,
    progress: Progress | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> LinearCheckResult:
    """Measure a loss of hidden states against the exact answer.

    Raises:
        UsageError: for cases that do not suit the loss, or a loss that cannot be measured.
        KeyboardInterrupt: on Ctrl-C before any row has failed.
    """
    callee.require_callable()
    candidate = LinearCandidate(framework, callee, device, mode)
    few_shapes = framework.compiles_shapes(mode)
    # A compiler takes seconds for a shape, and PyTorch's compiled losses cannot be differentiated twice. An interpreter
    # takes seconds for a batch.
    quick = settings.quick or mode == INTERPRETED or (few_shapes and base(mode) != "eager")
    cases = chosen(callee, settings.cases, quick=quick, few_shapes=few_shapes)
    limits = Limits(failed=settings.failed)
    dtypes = limits.dtypes(settings.dtypes or tuple(FORMATS))
    if settings.failed is not None:
        cases = tuple(case for case in cases if case.id in settings.failed.cases) or cases
    _require_measurable(candidate, dtypes)
    lines: list[LinearLine] = []
    failing: list[tuple[Question, How]] = []
    complete = True
    with gathered_warnings() as warned:
        try:
            tried = _tried(candidate, cases, dtypes, progress, quick=quick, few=few_shapes, named=bool(settings.cases))
            for question, how, found in tried:
                lines += found
                failed = [line for line in found if line.fails(settings.required)]
                if failed and not failing and on_failure is not None:
                    on_failure(_sentence(failed[0]))
                failing += [(question, how)] * bool(failed)
                if failing and settings.first:
                    complete = False
                    break
        except KeyboardInterrupt:
            if not failing:
                raise
            complete = False
    smallest = None
    if failing and settings.shrink:
        if progress is not None:
            progress(1, 1, "looking for the smallest batch that fails")
        smallest = smallest_failing(candidate, failing, settings.required, run=settings.run_script)
    required = settings.required
    return LinearCheckResult(
        callee.name, framework.name, candidate.version, device, mode, settings.require, required.loss.value,
        required.gradient.value, callee.options, table(lines), settings.dtypes, None, complete, limits,
        gradient_checked=candidate.differentiates, warnings=warned.each(), searched=smallest is not None,
        linear_form=callee.form, takes_bias=callee.takes_bias, program=smallest,
    )  # fmt: skip


def _tried(
    candidate: LinearCandidate,
    cases: Sequence[LinearCase],
    dtypes: Sequence[str],
    progress: Progress | None,
    *,
    quick: bool,
    few: bool,
    named: bool,
) -> Iterator[tuple[Question, How, list[LinearLine]]]:
    """Yield the lines of each batch in each presentation."""
    formats = [get_format(dtype) for dtype in dtypes]
    plain = candidate.form.plain_options
    done, total = 0, len(formats) * len(cases)
    for fmt in formats:
        if fmt is not formats[0]:
            candidate.framework.forget_programs()  # those of another dtype
        for case in cases:
            if progress is not None:
                progress(done, total, f"{fmt.name}, {case.id}")
            done += 1
            if fmt.name in case.dtypes:
                question = Question.of(case, fmt, plain)
                for how in _presented(question, quick=quick, few=few, named=named):
                    yield question, how, measured(candidate, question, how)


def _presented(question: Question, *, quick: bool, few: bool, named: bool) -> tuple[How, ...]:
    """Return the presentations of a batch: all of small seeded ones, and of the cases that the user names.

    Of ``few``, where each shape is compiled, all of those of `FEW_SIZES`.
    """
    if not question.ordinary:  # an infinite number or NaN times an upstream gradient of 0 is NaN
        return How.GIVEN, How.REVERSED, How.UNTRACKED
    rows, features = question.hidden.shape
    seeded = question.case.startswith(ALL_PRESENTED) and rows <= MAX_ROWS
    small = rows * features * len(question.weight) <= MAX_PRESENTED
    seeded = seeded and (not few or (rows, features, len(question.weight)) in FEW_SIZES)
    if small and (seeded or named) and not quick:
        return tuple(PRESENTATIONS)
    return QUICK if quick or few else SOME


def _require_measurable(candidate: LinearCandidate, dtypes: Sequence[str]) -> None:
    """Call the loss with ordinary batches.

    Raises:
        UsageError: if it returns loss and gradients of none of them, in no dtype.
    """
    faults = []
    for dtype in dtypes:
        for sizes in PROBED:
            ran = candidate.run(_probe(candidate, get_format(dtype), *sizes))
            if ran.status is Status.OK:
                return
            faults.append(ran)
    worst = next((ran for ran in faults if ran.status is Status.RAISED), faults[0])
    name, form = candidate.name, candidate.form
    if worst.misshapen:
        announced = "" if candidate.form.returns != "rows" else "; give --returns mean or sum if it returns one number"
        raise UsageError(f"{name} cannot be measured: {worst.detail.partition(': ')[2]}{announced}")
    if worst.passes:
        raise UsageError(f"{name} cannot be measured: it has no gradient by its arguments ({worst.detail})")
    raise UsageError(f"{name} cannot be measured: it raises {worst.detail}; expected a function of {form.arguments}")


def _probe(candidate: LinearCandidate, fmt: Format, rows: int, features: int, classes: int) -> Question:
    generator = np.random.default_rng(1)
    hidden, weight = (generator.standard_normal((n, features)).astype(fmt.dtype) for n in (rows, classes))
    bias = np.zeros(classes, fmt.dtype) if candidate.callee.requires_bias else None
    targets = np.arange(rows) % classes
    return Question("probe", fmt, hidden, weight, bias, targets, candidate.form.plain_options, np.arange(rows))


def _sentence(line: LinearLine) -> str:
    what = f"has grade {line.grade} ({line.verdict})" if line.grade else line.detail or line.verdict
    return f"{line.named}: {line.quantity} {what}"
