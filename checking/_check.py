"""``check``: a loss of one's own, measured against the exact answer on the catalogue and on rows made for kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from .. import arguments
from ..cases import Case, select
from ..errors import UsageError, shown
from ..formats import FORMATS, get_format
from ..grading import GRADES
from ..plan import choose_dtypes
from ._extra import EXTRA, extra_cases
from ._loss import Candidate, Loss, load_framework
from ._measure import Lines, fails, measured, table
from ._properties import PROPERTIES, breaks, properties
from ._rows import CATALOGUED, Rows, batches, presented_again
from ._show import text
from ._shrink import Smallest, smallest

FAILURE_COLUMNS = (
    "dtype", "quantity", "case", "row", "classes", "target", "how", "status", "grade", "verdict", "value", "exact",
    "max_abs", "max_ulp", "breaks", "detail",
)  # fmt: skip
MOST_SHRUNK = 100_000  # logits of a batch: beyond, each step takes too long
COPIED_FROM = 256  # rows before a failing one
WORST_SHRUNK = 8  # failing rows that are tried for the smallest one
QUANTITIES = ("loss", "gradient")


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What a loss is worth.

    Attributes:
        name, framework, version, device, mode: what was checked, and where.
        required: the grade asked for.
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
    lines: pd.DataFrame
    asked: tuple[str, ...]
    smallest: Smallest | None

    @cached_property
    def _failed(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        failed = fails(self.lines, self.required)
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
    gradients other than 1.

    Args:
        loss: a function of the framework's own arrays, logits (B, C) and integer targets (B,), that returns the row
            losses (B,). The framework differentiates it.
        framework: ``torch``, ``jax``, ``tensorflow``, ``numpy``, or another that `logitlab frameworks` lists.
        dtypes: those to check, each of which must then be supported; by default all four, and one that the loss
            says it does not support is left out.
        require: the worst grade that passes, ``A`` to ``D``.
        name: what to call the loss; by default its own name.
        gradient: logits and targets to the gradient (B, C) of the summed row losses, written by hand. NumPy needs it
            for the gradient to be checked; the other frameworks differentiate where it is not given.
        device: one that the framework finds.
        mode: ``eager``, or another mode of the framework, ``compiled`` or ``graph``.
        cases: globs over ``family/name``; by default all that take no loss options, and those of ``check/*``.
        shrink: whether to look for the smallest input that still fails.
        first: whether to stop at the first batch of rows that falls short; the grades are then of what was tried.

    Raises:
        UsageError: for a name that is not known, a framework that cannot be imported or lacks the device, or cases that
            cannot be given to a loss without options.
    """
    if require not in GRADES[:-1]:
        raise UsageError(f"cannot require grade {require!r}; the grades to require are {', '.join(GRADES[:-1])}")
    if not (gradient is None or callable(gradient)):
        raise UsageError(f"the gradient is {shown(gradient)}; expected a function of logits (B, C) and targets (B,)")
    if not callable(loss):
        raise UsageError(f"the loss is {type(loss).__name__}; expected a function of logits (B, C) and targets (B,)")
    asked = choose_dtypes(arguments.dtype_names(dtypes)) if dtypes is not None else ()
    chosen = _chosen(cases)
    adapter, wide = load_framework(framework)
    if device not in adapter.devices():
        raise UsageError(f"{framework} finds no device {device!r}; it has {', '.join(adapter.devices())}")
    modes = list(dict.fromkeys(m for i in adapter.implementations for m in i.modes))
    if mode not in modes:
        raise UsageError(f"{framework} has no mode {mode!r}; it has {', '.join(modes)}")
    called = (
        arguments.text(name, "name") if name is not None else str(getattr(loss, "__qualname__", type(loss).__name__))
    )
    candidate = Candidate(called, adapter, loss, gradient, device, mode, wide)
    tried = list(_tried(candidate, chosen, asked or tuple(FORMATS), require if first else None))
    lines = table([part for _, found in tried for part in found])
    failed = fails(lines, require)
    found = smallest(candidate, _worst_rows(lines[failed], [r for r, _ in tried]), require) if shrink else None
    return CheckResult(called, framework, candidate.version, device, mode, require, lines, asked, found)


def _chosen(patterns: str | Sequence[str] | None) -> tuple[Case, ...]:
    globs = arguments.listed(patterns, "cases")
    of_its_own = tuple(c for c in extra_cases() if not globs or any(fnmatchcase(c.id, glob) for glob in globs))
    others = [glob for glob in globs if not glob.startswith(EXTRA)]
    held = tuple(c for c in (select(others) if others or not globs else ()) if _takes_no_options(c))
    if not held and not of_its_own:
        raise UsageError(f"no case of {', '.join(globs)} is logits and class indices alone; choose others")
    return (*held, *of_its_own)


def _takes_no_options(case: Case) -> bool:
    bare = case.weight is None and case.ignore_index is None and not case.label_smoothing and not case.invalid
    in_rows = case.layout in ("rows", "transposed", "strided")
    return bare and in_rows and case.reduction == "none" and case.targets.dtype == np.int64


def _tried(
    candidate: Candidate, cases: Sequence[Case], dtypes: Sequence[str], stop_below: str | None
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
    plainly = (table["how"] == CATALOGUED).astype(int)
    order = table.assign(_rank=_rank(table), _plainly=plainly, _ulp=table["max_ulp"].astype(float))
    return order.sort_values(["_rank", "_plainly", "_ulp"], ascending=False, kind="stable")


def _worst_rows(failures: pd.DataFrame, tried: Sequence[Rows]) -> list[tuple[Rows, str]]:
    """A few of the rows that fail worst, each with its quantity and first in its batch: the narrow ones."""
    # NaN handed on wrongly is one defect more often than the only one.
    numbers = failures[~failures["has nan"]]
    worst = failures if numbers.empty else numbers
    worst = worst[_rank(worst) == _rank(worst).max()]
    plainly = worst[worst["how"] == CATALOGUED]
    narrow = (worst if plainly.empty else plainly).sort_values("classes", kind="stable")
    few = narrow.drop_duplicates(["classes", "how", "quantity", "dtype"]).head(WORST_SHRUNK)
    return [(rows, line["quantity"]) for line in few.to_dict("records") for rows in _batch_of(line, tried)]


def _batch_of(line: dict[Any, Any], tried: Sequence[Rows]) -> Iterator[Rows]:
    for rows in tried:
        if (rows.fmt.name, rows.classes, rows.how) != (line["dtype"], line["classes"], line["how"]):
            continue
        place = int(line["place"])
        if place < len(rows) and (rows.ids[place], rows.numbers[place]) == (line["case"], line["row"]):
            if rows.logits.size > MOST_SHRUNK:
                return
            # Foremost where it fails there too; else last of as many as there were. Of very many the others are its
            # copies, which a program can write down.
            foremost = np.r_[place, np.delete(np.arange(len(rows)), place)]
            yield replace(rows.take(foremost), distinct=None)
            before = np.s_[: place + 1] if place < COPIED_FROM else np.full(place + 1, place)
            yield replace(rows.take(before), distinct=None)
            return


def _worst(table: pd.DataFrame) -> str:
    bad = table.loc[~table["status"].isin(["ok", "unsupported"]), "status"]
    if len(bad):
        return str(bad.iloc[0])
    grades = table["grade"].dropna()
    return max(grades, key=GRADES.index) if len(grades) else "unsupported"
