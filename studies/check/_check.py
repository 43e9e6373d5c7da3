"""``check``: measure a user's loss against the exact answer, on the catalogue and on rows that test kernels."""

import inspect
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ...cases import Case, select_cases
from ...core import arguments
from ...core.errors import UsageError, short_repr
from ...core.formats import FORMATS
from ...core.progress import Progress, reporting
from ...core.vocabulary import GRADES, Grade
from ...execution.plan import choose_dtypes
from ._lines import Lines, Required, each_line, fails, table
from ._loss import Candidate, Loss, load_framework
from ._options import PLAIN, keywords, options_of, set_in, signature_of
from ._presentation import CATALOGUED
from ._result import CheckResult
from ._rows import LAID
from ._seeded import FEW_WIDTHS, SEEDED, option_cases, seeded_cases
from ._shrink import find_smallest
from ._tries import Tries, worst_rows


def check(
    loss: Loss,
    framework: str,
    dtypes: object = None,
    require: str = "B",
    *,
    require_loss: str | None = None,
    require_gradient: str | None = None,
    name: str | None = None,
    gradient: Loss | None = None,
    device: str = "cpu",
    mode: str = "eager",
    cases: str | Sequence[str] | None = None,
    shrink: bool = True,
    first: bool = False,
    progress: Progress | bool | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> CheckResult:
    """Measure a loss against the exact answer, and return whether it has a grade.

    The loss is called in this process, on the catalogue's cases without loss options and on seeded rows (``check/*``)
    of widths near the block sizes of kernels. The same rows are then tried in other batches, orders, layouts and
    offsets, a second time, and after another batch. They are also tried without a gradient, differentiated twice, and
    with upstream gradients other than 1.

    The signature may name loss options: ``label_smoothing``, ``weight``, ``ignore_index``, ``reduction``, or any other
    option of `logitlab.reference`. The loss is then also called with them, on seeded rows and on the catalogue's cases
    without other options. The options have the meaning of `logitlab.reference`. In all other calls, a loss that names
    ``reduction`` gets ``"none"``.

    Args:
        loss: a function of logits (B, C) and integer targets (B,), in the framework's arrays, that returns the row
            losses (B,); or a callable object such as a PyTorch module. The framework differentiates it.
        framework: ``torch``, ``jax``, ``tensorflow``, ``numpy``, or another that `logitlab frameworks` lists.
        dtypes: the dtypes to check, which the loss must support; by default all four, without those that it does not
            support.
        require: the worst grade that passes, ``A`` to ``D``.
        require_loss: the worst grade of the loss, if not ``require``.
        require_gradient: the worst grade of the gradient, if not ``require``.
        name: the name of the loss in the report; by default its own name.
        gradient: a function of logits and targets that returns the gradient (B, C) of the summed row losses. NumPy
            needs it to check the gradient; the other frameworks differentiate the loss without it.
        device: a device that the framework finds.
        mode: ``eager``, or another mode of the framework, ``compiled`` or ``graph``.
        cases: globs over ``family/name``; by default ``check/*`` and all cases without loss options, or with options
            that the loss names.
        shrink: whether to search for the smallest input that still fails.
        first: whether to stop at the first batch that fails; the grades then cover the batches tried.
        progress: called with the batches done, the total and the current batch. By default (None or True) a bar if
            standard error is a terminal, and a line in a notebook; False for none.
        on_failure: called with one line about the first row that fails, as soon as it fails.

    A framework that compiles each shape (JAX, and every mode but ``eager``) gets fewer widths and sizes of batches,
    unless ``cases`` names others. Ctrl-C after a row has failed stops the check and returns the result so far; before
    that it raises KeyboardInterrupt.

    Raises:
        UsageError: for an unknown name, a framework that cannot be imported or lacks the device, cases that do not suit
            the loss, or a loss that cannot be measured. A class and a function that does not take logits and targets
            cannot be measured. A function that raises on every batch, or returns something other than row losses on
            every batch, cannot be measured either.
    """
    required = Required(*(_grade(given or require) for given in (require_loss, require_gradient)))
    default_name = str(getattr(loss, "__qualname__", type(loss).__name__))
    called = default_name if name is None else arguments.as_string(name, "name")
    _require_callable(loss, "the loss", called)
    if gradient is not None:
        _require_callable(gradient, "the gradient", str(getattr(gradient, "__qualname__", type(gradient).__name__)))
    asked = choose_dtypes(arguments.as_dtypes(dtypes)) if dtypes is not None else ()
    with reporting(progress) as report:
        adapter = load_framework(framework)
        if device not in adapter.devices():
            raise UsageError(f"{framework} finds no device {device!r}; choose one of {', '.join(adapter.devices())}")
        modes = list(dict.fromkeys(m for i in adapter.implementations for m in i.modes))
        if mode not in modes:
            raise UsageError(f"{framework} has no mode {mode!r}; choose one of {', '.join(modes)}")
        few_shapes = adapter.compiles_shapes(mode)
        chosen = _chosen(cases, options_of(loss), few_shapes=few_shapes)
        candidate = Candidate(called, adapter, loss, gradient, device, mode)
        tries = Tries(candidate, chosen, asked or tuple(FORMATS), few_shapes=few_shapes)
        found, complete = _measure_all(tries, required, report, on_failure, first=first)
        lines = table(found)
        failed = fails(lines, required)
        smallest = None
        if shrink and failed.any():
            if report is not None:
                report(1, 1, "looking for the smallest input that fails")
            try:
                smallest = find_smallest(candidate, list(worst_rows(lines, failed, tries)), required)
            except KeyboardInterrupt:
                complete = False
    options = tuple(name for name in options_of(loss) if lines["options"].str.contains(name, regex=False).any())
    return CheckResult(
        called, framework, candidate.version, device, mode, require, required.loss.value, required.gradient.value,
        options, lines, asked, smallest, complete,
    )  # fmt: skip


def _measure_all(
    tries: Tries,
    required: Required,
    progress: Progress | None,
    on_failure: Callable[[str], None] | None,
    *,
    first: bool,
) -> tuple[list[Lines], bool]:
    """Return all lines, and whether everything was tried: not after Ctrl-C, or after the first failure if ``first``.

    Raises:
        UsageError: if no ordinary batch can be measured.
        KeyboardInterrupt: on Ctrl-C before any row has failed.
    """
    found: list[Lines] = []
    failed = False
    try:
        for measured in tries.measured(progress):
            found += measured
            for lines in measured if not failed else ():
                failing = lines.failing(required)
                if failing.size and not failed and on_failure is not None:
                    on_failure(_sentence(lines.take(failing[:1])))
                failed = failed or bool(failing.size)
            if failed and first:
                return found, False
    except KeyboardInterrupt:
        if not failed:
            raise
        return found, False
    return found, True


def _sentence(lines: Lines) -> str:
    """Return a line of the table as text: ``masks/first[0] in float32: loss has grade F (nan)``."""
    line = next(each_line(table([lines])))
    row = "" if line.row < 0 else f"[{line.row}]"
    what = f"has grade {line.grade} ({line.verdict})" if line.grade else line.detail or line.verdict
    how = "" if line.how == str(CATALOGUED) else f", {line.how}"
    return f"{line.case}{row} in {line.dtype}{how}: {line.quantity} {what}"


def _grade(letter: str) -> Grade:
    if letter not in GRADES[:-1]:
        raise UsageError(f"cannot require grade {letter!r}; choose one of {', '.join(GRADES[:-1])}")
    return Grade(letter)


def _chosen(patterns: str | Sequence[str] | None, options: Sequence[str], *, few_shapes: bool) -> tuple[Case, ...]:
    globs = arguments.as_strings(patterns, "cases")
    every = (*seeded_cases(), *option_cases(options))
    if few_shapes and not globs:
        every = tuple(case for case in every if case.classes in FEW_WIDTHS)
    of_its_own = tuple(c for c in every if not globs or any(fnmatchcase(c.id, glob) for glob in globs))
    others = [glob for glob in globs if not glob.startswith(SEEDED)]
    held = tuple(c for c in (select_cases(others) if others or not globs else ()) if _can_be_given(c, options))
    if not held and not of_its_own:
        taken = f" with the options {', '.join(options)}" if options else " alone"
        raise UsageError(
            f"no case of {', '.join(globs)} holds logits and class indices{taken}, which is what this loss takes; "
            "choose other cases from `logitlab cases`"
        )
    return (*held, *of_its_own)


def _can_be_given(case: Case, options: Sequence[str]) -> bool:
    in_rows = case.layout in LAID and case.targets.dtype == np.int64
    return in_rows and not case.invalid and case.rows > 0 and set(set_in(case)) <= set(options)


def _require_callable(function: Any, what: str, name: str) -> None:
    """Raise a UsageError for a value that cannot be called with logits and targets.

    Such a value is not a function, is a class, or has a signature that does not take two arguments.
    """
    expected = "expected a function of logits (B, C) and targets (B,)"
    if inspect.isclass(function):
        raise UsageError(f"{what} {name} is a class; {expected}, or an instance that can be called")
    if not callable(function):
        raise UsageError(f"{what} is {short_repr(function)}; {expected}")
    signature = signature_of(function)
    try:
        if signature is not None:
            signature.bind(None, None, **keywords(function, PLAIN))
    except TypeError as error:
        raise UsageError(
            f"{what} {name}{signature} cannot be called with logits and targets ({error}); {expected}"
        ) from error
