"""``check``: a loss of one's own, measured against the exact answer on the catalogue and on rows made for kernels."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ...cases import Case, select_cases
from ...core import arguments
from ...core.errors import UsageError, short_repr
from ...core.formats import FORMATS, get_format, quantize
from ...core.vocabulary import GRADES, Grade, Quantity, Status
from ...execution.plan import choose_dtypes
from ...execution.worker import Outcome
from ...frameworks import Batch
from ._lines import Line, Lines, Mask, Required, badness, each_line, fails, table
from ._loss import Candidate, Loss, load_framework
from ._measure import measure
from ._options import PLAIN, keywords, options_of, set_in, signature_of
from ._presentation import CATALOGUED
from ._properties import KEYS, PROPERTIES, explaining
from ._result import CheckResult
from ._rows import LAID, PresentedRows, batches, presented_again
from ._seeded import SEEDED, option_cases, seeded_cases
from ._shrink import Failing, find_smallest

PROBED = ((3, 5), (2, 2), (128, 1024))  # (B, C): narrow rows, and a batch that a kernel's blocks divide
MAX_SHRUNK = 300_000  # logits of a batch: beyond, each step takes too long
COPIED_FROM = 256  # rows before a failing one
WORST_SHRUNK = 5  # failing rows that are tried for the smallest one


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
) -> CheckResult:
    """Measures a loss against the exact answer, and says whether it has a grade.

    The loss is called in this process, on the catalogue's cases without loss options and on seeded rows of the widths
    about which kernels divide their work (``check/*``); then on the same rows in other batches, orders, layouts and
    offsets, a second time, with another batch in between, without a gradient, differentiated twice, and under upstream
    gradients other than 1. Where its signature names loss options (``label_smoothing``, ``weight``, ``ignore_index``,
    ``reduction``, and whatever else `logitlab.reference` takes) it is also called with them, on the catalogue's cases
    that have no others and on seeded rows; their meaning is that of `logitlab.reference`. A loss that names
    ``reduction`` is asked for ``"none"`` elsewhere.

    Args:
        loss: a function of the framework's own arrays, logits (B, C) and integer targets (B,), that returns the row
            losses (B,), or an object that can be called so, such as a module of PyTorch. The framework differentiates
            it.
        framework: ``torch``, ``jax``, ``tensorflow``, ``numpy``, or another that `logitlab frameworks` lists.
        dtypes: those to check, each of which must then be supported; by default all four, and one that the loss
            says it does not support is left out.
        require: the worst grade that passes, ``A`` to ``D``.
        require_loss: the same of the loss, in place of ``require``.
        require_gradient: the same of the gradient.
        name: what to call the loss; by default its own name.
        gradient: logits and targets to the gradient (B, C) of the summed row losses, written by hand. NumPy needs it
            for the gradient to be checked; the other frameworks differentiate where it is not given.
        device: one that the framework finds.
        mode: ``eager``, or another mode of the framework, ``compiled`` or ``graph``.
        cases: globs over ``family/name``; by default all that have no loss options but those that the loss names, and
            those of ``check/*``.
        shrink: whether to look for the smallest input that still fails.
        first: whether to stop at the first batch of rows that falls short; the grades are then of what was tried.

    Raises:
        UsageError: for a name that is not known, a framework that cannot be imported or lacks the device, cases that
            cannot be given to the loss; and for a loss that cannot be measured: a class, a signature that does not take
            logits and targets, or one that raises, or returns something else than row losses, on every batch.
    """
    required = Required(*(_grade(given or require) for given in (require_loss, require_gradient)))
    default_name = str(getattr(loss, "__qualname__", type(loss).__name__))
    called = default_name if name is None else arguments.as_string(name, "name")
    _require_callable(loss, "the loss", called)
    if gradient is not None:
        _require_callable(gradient, "the gradient", str(getattr(gradient, "__qualname__", type(gradient).__name__)))
    asked = choose_dtypes(arguments.as_dtypes(dtypes)) if dtypes is not None else ()
    chosen = _chosen(cases, options_of(loss))
    adapter = load_framework(framework)
    if device not in adapter.devices():
        raise UsageError(f"{framework} finds no device {device!r}; it has {', '.join(adapter.devices())}")
    modes = list(dict.fromkeys(m for i in adapter.implementations for m in i.modes))
    if mode not in modes:
        raise UsageError(f"{framework} has no mode {mode!r}; it has {', '.join(modes)}")
    candidate = Candidate(called, adapter, loss, gradient, device, mode)
    _require_measurable(candidate, asked or tuple(FORMATS))
    tried: list[PresentedRows] = []
    found: list[Lines] = []
    for rows, measured in _everything(candidate, chosen, asked or tuple(FORMATS)):
        tried.append(rows)
        found += measured
        if first and fails(table(measured), required).any():
            break
    lines = table(found)
    failed = fails(lines, required)
    failing = list(_worst_rows(lines, failed, tried)) if shrink and failed.any() else []
    options = tuple(name for name in options_of(loss) if lines["options"].str.contains(name, regex=False).any())
    return CheckResult(
        called, framework, candidate.version, device, mode, require, required.loss.value, required.gradient.value,
        options, lines, asked, find_smallest(candidate, failing, required),
    )  # fmt: skip


def _grade(letter: str) -> Grade:
    if letter not in GRADES[:-1]:
        raise UsageError(f"cannot require grade {letter!r}; the grades to require are {', '.join(GRADES[:-1])}")
    return Grade(letter)


def _chosen(patterns: str | Sequence[str] | None, options: Sequence[str]) -> tuple[Case, ...]:
    globs = arguments.as_strings(patterns, "cases")
    every = (*seeded_cases(), *option_cases(options))
    of_its_own = tuple(c for c in every if not globs or any(fnmatchcase(c.id, glob) for glob in globs))
    others = [glob for glob in globs if not glob.startswith(SEEDED)]
    held = tuple(c for c in (select_cases(others) if others or not globs else ()) if _can_be_given(c, options))
    if not held and not of_its_own:
        more = f" with the options that the loss names, {', '.join(options)}," if options else ""
        raise UsageError(f"no case of {', '.join(globs)} is logits and class indices alone{more}; choose others")
    return (*held, *of_its_own)


def _can_be_given(case: Case, options: Sequence[str]) -> bool:
    in_rows = case.layout in LAID and case.targets.dtype == np.int64
    return in_rows and not case.invalid and case.rows > 0 and set(set_in(case)) <= set(options)


def _require_callable(function: Any, what: str, name: str) -> None:
    """Refuses what cannot be called with logits and targets.

    Raises:
        UsageError: for a value that is no function, a class, or a signature that does not take two arguments.
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


def _require_measurable(candidate: Candidate, dtypes: Sequence[str]) -> None:
    """Refuses a loss that gives no row losses for any ordinary batch, in any dtype.

    One that fails on some inputs or in some dtypes is measured, and its failures are reported.

    Raises:
        UsageError: with the error of the first call; or of a gradient written by hand that gives none.
    """
    rng = np.random.default_rng(0)
    wanted = set(candidate.quantities if candidate.gradient is not None else ("loss",))
    tried: list[Outcome] = []
    for shape, dtype in product(PROBED, dict.fromkeys([*dtypes, *FORMATS])):
        logits = quantize(np.round(rng.normal(size=shape) * 16) / 16, get_format(dtype))
        tried.append(candidate.call(Batch(logits, rng.integers(shape[1], size=shape[0]))))
        if wanted <= {quantity for quantity, _ in tried[-1].values}:
            return
    what = "the gradient" if tried[0].values else "the loss"
    raise UsageError(
        f"{what} of {candidate.name} cannot be measured: every call fails, the first with {tried[0].detail}; "
        "expected row losses (B,) of logits (B, C) and targets (B,)"
    )


def _everything(
    candidate: Candidate, cases: Sequence[Case], dtypes: Sequence[str]
) -> Iterator[tuple[PresentedRows, list[Lines]]]:
    """Each batch, presented in each way, with its lines."""
    for dtype in dtypes:
        for rows in batches(cases, get_format(dtype)):
            once = measure(candidate, rows)
            yield rows, once
            if any(lines.status != Status.OK for lines in once):
                continue  # what raises or is not supported as it stands is not asked in other ways
            for again in presented_again(rows):
                yield again, measure(candidate, again)


def _worst_rows(lines: pd.DataFrame, failed: Mask, tried: Sequence[PresentedRows]) -> Iterator[Failing]:
    """A few of the rows that fail worst by the property that says most of what fails: the narrow ones."""
    name = explaining(lines, failed)
    broken = failed if name is None else PROPERTIES[name].breaks(lines, failed)
    # Right in another way, it is as the catalogue has it that the row fails.
    keys = pd.MultiIndex.from_frame(lines[KEYS])
    plainly = lines["how"].eq(str(CATALOGUED)).to_numpy(bool)
    failures = lines[failed & (broken | (plainly & keys.isin(keys[broken & ~failed])))]
    # Finite numbers where they show it: NaN handed on wrongly is one defect more often than the only one.
    numbers = failures[~failures["has_nan"]]
    finite = numbers[~numbers["has_mask"]]
    worst = next(some for some in (finite, numbers, failures) if not some.empty)
    bad = worst["grade"].map(badness)
    worst = worst[bad == bad.max()]
    narrow = worst.assign(_other=worst["how"].ne(str(CATALOGUED))).sort_values(["_other", "classes"], kind="stable")
    few = narrow.drop_duplicates(["classes", "how", "quantity", "dtype"]).head(WORST_SHRUNK)
    for line in each_line(few):
        yield from (replace(each, property=name) for each in _batch_of(line, tried))


def _batch_of(line: Line, tried: Sequence[PresentedRows]) -> Iterator[Failing]:
    for rows in tried:
        if (rows.fmt.name, rows.classes, str(rows.how)) != (line.dtype, line.classes, line.how):
            continue
        place, quantity = line.place, Quantity(line.quantity)
        # A reduced loss is no row's own.
        number = line.row if line.row < 0 or place >= len(rows) else rows.numbers[place]
        if place < len(rows) and (rows.ids[place], number) == (line.case, line.row):
            if rows.logits.size > MAX_SHRUNK:
                return
            start = place // rows.per_call * rows.per_call if rows.per_call else 0
            called, place = rows.take(np.s_[start : start + (rows.per_call or len(rows))]), place - start
            # Foremost where it fails there too; else last of as many as there were. Of very many the others are its
            # copies, which a program can write down.
            foremost = np.r_[place, np.delete(np.arange(len(called)), place)]
            yield Failing(called.take(foremost), 0, quantity, None)
            if rows.options.reduced:
                return
            before = np.s_[: place + 1] if place < COPIED_FROM else np.full(place + 1, place)
            yield Failing(called.take(before), place, quantity, None)
            return
