"""``check``: a loss of one's own, measured against the exact answer on the catalogue and on rows made for kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...cases import Case, select_cases
from ...core import arguments
from ...core.errors import UsageError
from ...core.formats import FORMATS, get_format
from ...core.vocabulary import GRADES
from ...execution.plan import choose_dtypes
from ._extra import EXTRA, extra_cases
from ._loss import Candidate, Loss, load_framework
from ._measure import Lines, Required, fails, measured, table
from ._options import must_be_callable, option_cases, options_of, set_in
from ._presentation import CATALOGUED
from ._probe import must_be_measurable
from ._properties import KEYS, PROPERTIES, breaks, explaining, properties
from ._rows import LAID, Rows, batches, presented_again
from ._show import text
from ._shrink import Failing, Smallest, smallest

FAILURE_COLUMNS = (
    "dtype", "quantity", "case", "row", "classes", "target", "how", "status", "grade", "verdict", "value", "exact",
    "max_abs", "max_ulp", "breaks", "detail",
)  # fmt: skip
MAX_SHRUNK = 300_000  # logits of a batch: beyond, each step takes too long
COPIED_FROM = 256  # rows before a failing one
WORST_SHRUNK = 5  # failing rows that are tried for the smallest one
QUANTITIES = ("loss", "gradient")


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What a loss is worth.

    Attributes:
        name, framework, version, device, mode: what was checked, and where.
        required, required_loss, required_gradient: the grades asked for, of either and of each.
        options: the loss options that it was measured with, beside without.
        lines: everything that was measured, one line a row, quantity and way of presenting it.
        asked: the dtypes that were asked for by name.
        smallest: the smallest input found that still fails, None if nothing does.
    """

    name: str
    framework: str
    version: str
    device: str
    mode: str
    required: str
    required_loss: str
    required_gradient: str
    options: tuple[str, ...]
    lines: pd.DataFrame
    asked: tuple[str, ...]
    smallest: Smallest | None

    @cached_property
    def _failed(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        failed = fails(self.lines, Required(self.required_loss, self.required_gradient))
        missing = self.lines["dtype"].isin(self.asked) & (self.lines["status"] == "unsupported")
        return failed | missing.to_numpy(bool)

    @property
    def passed(self) -> bool:
        """Whether every row has the grade, in every dtype that the loss takes, and in one at least."""
        return not self._failed.any() and bool((self.lines["status"] == "ok").any())

    @cached_property
    def grades(self) -> dict[str, str]:
        """The worst grade in each dtype, or what happened instead: ``raised``, ``unsupported``."""
        return {str(dtype): _worst(table) for dtype, table in self.lines.groupby("dtype", sort=False)}

    @cached_property
    def grades_by_quantity(self) -> dict[str, dict[str, str]]:
        """The same for ``loss`` and ``gradient`` each: ``{dtype: {quantity: grade}}``."""
        return {
            str(dtype): {q: _worst(table[table["quantity"] == q]) for q in QUANTITIES if (table["quantity"] == q).any()}
            for dtype, table in self.lines.groupby("dtype", sort=False)
        }

    @cached_property
    def failures(self) -> pd.DataFrame:
        """The lines that fall short, worst first, with the columns `FAILURE_COLUMNS`; ``breaks`` names properties.

        Of one grade, rows as the catalogue has them come before the same rows presented in another way.
        """
        broke = {name: breaks(self.lines, self._failed, name) for name in PROPERTIES}
        table = self.lines[self._failed].copy()
        told = [[name for name, mask in broke.items() if mask[i]] for i in np.flatnonzero(self._failed)]
        table["breaks"] = ["; ".join(names) for names in told]
        return _worst_first(table)[list(FAILURE_COLUMNS)].reset_index(drop=True)

    @cached_property
    def properties(self) -> pd.DataFrame:
        """Each property in each dtype: how many rows tried it, how many failed, and whether it ``held``."""
        return properties(self.lines, self._failed)

    @property
    def script(self) -> str | None:
        """A Python program of a dozen lines that shows the failure without LogitLab; None if nothing fails."""
        return None if self.smallest is None else self.smallest.script

    def __str__(self) -> str:
        return text(self)


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
    must_be_callable(loss, "the loss", called)
    if gradient is not None:
        must_be_callable(gradient, "the gradient", str(getattr(gradient, "__qualname__", type(gradient).__name__)))
    asked = choose_dtypes(arguments.as_dtypes(dtypes)) if dtypes is not None else ()
    chosen = _chosen(cases, options_of(loss))
    adapter, wide = load_framework(framework)
    if device not in adapter.devices():
        raise UsageError(f"{framework} finds no device {device!r}; it has {', '.join(adapter.devices())}")
    modes = list(dict.fromkeys(m for i in adapter.implementations for m in i.modes))
    if mode not in modes:
        raise UsageError(f"{framework} has no mode {mode!r}; it has {', '.join(modes)}")
    candidate = Candidate(called, adapter, loss, gradient, device, mode, wide)
    must_be_measurable(candidate, asked or tuple(FORMATS))
    tried = list(_tried(candidate, chosen, asked or tuple(FORMATS), required if first else None))
    lines = table([part for _, found in tried for part in found])
    failed = fails(lines, required)
    failing = list(_worst_rows(lines, failed, [r for r, _ in tried])) if shrink and failed.any() else []
    options = tuple(name for name in options_of(loss) if lines["options"].str.contains(name, regex=False).any())
    return CheckResult(
        called, framework, candidate.version, device, mode, require, required.loss, required.gradient, options, lines,
        asked, smallest(candidate, failing, required),
    )  # fmt: skip


def _grade(letter: str) -> str:
    if letter not in GRADES[:-1]:
        raise UsageError(f"cannot require grade {letter!r}; the grades to require are {', '.join(GRADES[:-1])}")
    return letter


def _chosen(patterns: str | Sequence[str] | None, options: Sequence[str]) -> tuple[Case, ...]:
    globs = arguments.as_strings(patterns, "cases")
    every = (*extra_cases(), *option_cases(options))
    of_its_own = tuple(c for c in every if not globs or any(fnmatchcase(c.id, glob) for glob in globs))
    others = [glob for glob in globs if not glob.startswith(EXTRA)]
    held = tuple(c for c in (select_cases(others) if others or not globs else ()) if _can_be_given(c, options))
    if not held and not of_its_own:
        more = f" with the options that the loss names, {', '.join(options)}," if options else ""
        raise UsageError(f"no case of {', '.join(globs)} is logits and class indices alone{more}; choose others")
    return (*held, *of_its_own)


def _can_be_given(case: Case, options: Sequence[str]) -> bool:
    in_rows = case.layout in LAID and case.targets.dtype == np.int64
    return in_rows and not case.invalid and case.rows > 0 and set(set_in(case)) <= set(options)


def _tried(
    candidate: Candidate, cases: Sequence[Case], dtypes: Sequence[str], stop_below: Required | None
) -> Iterator[tuple[Rows, list[Lines]]]:
    """Each batch with its lines; all of them, or up to the first that falls short of a grade."""
    for rows, lines in _everything(candidate, cases, dtypes):
        yield rows, lines
        if stop_below is not None and fails(table(lines), stop_below).any():
            return


def _everything(
    candidate: Candidate, cases: Sequence[Case], dtypes: Sequence[str]
) -> Iterator[tuple[Rows, list[Lines]]]:
    for dtype in dtypes:
        for rows in batches(cases, get_format(dtype)):
            once = measured(candidate, rows)
            yield rows, once
            if any(lines["status"] != "ok" for lines in once):
                continue  # what raises or is not supported as it stands is not asked in other ways
            for again in presented_again(rows):
                yield again, measured(candidate, again)


def _rank(table: pd.DataFrame) -> pd.Series[float]:
    """How bad a line is: by its grade, and worse than any grade where it has none."""
    return table["grade"].map({g: i for i, g in enumerate(GRADES)}).astype(float).fillna(len(GRADES))


def _worst_first(table: pd.DataFrame) -> pd.DataFrame:
    plainly = (table["how"] == str(CATALOGUED)).astype(int)
    order = table.assign(_rank=_rank(table), _plainly=plainly, _ulp=table["max_ulp"].astype(float))
    return order.sort_values(["_rank", "_plainly", "_ulp"], ascending=False, kind="stable")


def _worst_rows(lines: pd.DataFrame, failed: NDArray[np.bool_], tried: Sequence[Rows]) -> Iterator[Failing]:
    """A few of the rows that fail worst by the property that says most of what fails: the narrow ones."""
    name = explaining(lines, failed)
    broken = failed if name is None else breaks(lines, failed, name)
    # Right in another way, it is as the catalogue has it that the row fails.
    keys = pd.MultiIndex.from_frame(lines[KEYS])
    plainly = lines["how"].eq(str(CATALOGUED)).to_numpy(bool)
    failures = lines[failed & (broken | (plainly & keys.isin(keys[broken & ~failed])))]
    # Finite numbers where they show it: NaN handed on wrongly is one defect more often than the only one.
    numbers = failures[~failures["has nan"]]
    finite = numbers[~numbers["has mask"]]
    worst = next(some for some in (finite, numbers, failures) if not some.empty)
    worst = worst[_rank(worst) == _rank(worst).max()]
    order = {True: 0, False: 1}
    narrow = worst.assign(_other=worst["how"].eq(str(CATALOGUED)).map(order)).sort_values(
        ["_other", "classes"], kind="stable"
    )
    few = narrow.drop_duplicates(["classes", "how", "quantity", "dtype"]).head(WORST_SHRUNK)
    for line in few.to_dict("records"):
        yield from (replace(each, property=name) for each in _batch_of(line, tried))


def _batch_of(line: dict[Any, Any], tried: Sequence[Rows]) -> Iterator[Failing]:
    for rows in tried:
        if (rows.fmt.name, rows.classes, str(rows.how)) != (line["dtype"], line["classes"], line["how"]):
            continue
        place, quantity = int(line["place"]), line["quantity"]
        # A reduced loss is no row's own.
        number = line["row"] if line["row"] < 0 or place >= len(rows) else rows.numbers[place]
        if place < len(rows) and (rows.ids[place], number) == (line["case"], line["row"]):
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


def _worst(table: pd.DataFrame) -> str:
    bad = table.loc[~table["status"].isin(["ok", "unsupported"]), "status"]
    if len(bad):
        return str(bad.iloc[0])
    grades = table["grade"].dropna()
    return max(grades, key=GRADES.index) if len(grades) else "unsupported"
