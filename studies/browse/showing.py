"""One case as a dtype holds it: its numbers, the exact answer in twenty digits, and the thresholds it stands near."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ...cases import Case, get_case
from ...core.errors import UsageError
from ...core.formats import FORMATS, Format, get_format, round_to
from ...core.options import option_texts
from ...oracle import Exact, Reference, reference
from . import _thresholds as thresholds

Float64 = NDArray[np.float64]

WIDTH = 100
MAX_LINES = 8  # rows, and classes of a row, that are shown before the rest is left out
DIGITS = 20
# The exact value is neither zero nor infinite, but float64 has no number for it.
BENEATH, ABOVE = "below 5e-324", "above 1.8e308"


@dataclass(frozen=True, eq=False)
class View:
    """One case in one dtype.

    Attributes:
        case, dtype: what is looked at.
        loss: the exact reduced loss in words of twenty digits; None where the case does not reduce.
        rows: one line for each row that is shown: ``row``, ``target`` (-1 for class probabilities), ``loss`` (the row's
            own, in twenty digits, ``none`` where the target is no class, ``below 5e-324`` or ``above 1.8e308`` where
            float64 has no number for it), ``rounded`` (that loss as the dtype holds it, NaN for none), ``condition``,
            and ``note``: what sets the row apart, mostly why nothing is graded.
        entries: one line for each of their classes that is shown: ``row``, ``class``, ``target`` (its share before
            loss options), ``logit`` (as the dtype holds it), ``given`` (as the case has it), ``probability`` and
            ``gradient`` (of the case's reduction), these two in twenty digits.
        thresholds: what `thresholds.near` finds for each row, with its ``row``.
    """

    case: Case
    dtype: str
    loss: str | None
    rows: pd.DataFrame
    entries: pd.DataFrame
    thresholds: pd.DataFrame


def view(case: str, dtype: str = "float32", row: int | None = None) -> View:
    """Looks at one case in one dtype: at its first eight rows, or at one.

    Of more than eight classes those are kept that say most: the targets, the extremes, and the first.

    Raises:
        UsageError: for a name that is no case, a dtype that cannot hold it, or a row that it does not have.
    """
    fmt, chosen = get_format(dtype), get_case(case)
    if fmt.name not in chosen.dtypes:
        held = f"it is held by {', '.join(chosen.dtypes)}"
        raise UsageError(f"{fmt.name} cannot hold {case}: {chosen.why_unrepresentable(fmt)}; {held}")
    if row is not None and not 0 <= row < chosen.rows:
        there = f"its rows are 0 to {chosen.rows - 1}" if chosen.rows else "it has none"
        raise UsageError(f"{case} has no row {row}; {there}")
    x, t = chosen.quantized(fmt), chosen.quantized_targets(fmt)
    whole, single = _answers(chosen, fmt)
    rows = [_Row(chosen, fmt, r, x[r].astype(np.float64), t[r], whole, single) for r in range(chosen.rows)]
    looked = rows[:MAX_LINES] if row is None else [rows[row]]
    near = [r.near().assign(row=r.row) for r in looked]
    near = [found for found in near if len(found)]
    return View(
        chosen,
        fmt.name,
        None if chosen.reduction == "none" else digits(whole.loss, positive=any(r.has_loss for r in rows)),
        pd.DataFrame([r.line() for r in looked], columns=["row", "target", "loss", "rounded", "condition", "note"]),
        pd.DataFrame(
            [line for r in looked for line in r.entries()],
            columns=["row", "class", "target", "logit", "given", "probability", "gradient"],
        ),
        pd.concat(near, ignore_index=True) if near else pd.DataFrame(columns=[*thresholds.COLUMNS, "row"]),
    )


def _answers(case: Case, fmt: Format) -> tuple[Reference, Reference]:
    """The exact answer of the case, and that of its rows one by one; a target that is no class is taken for 0."""
    x, t = case.quantized(fmt), case.quantized_targets(fmt)
    if case.invalid:
        t = np.where((t >= 0) & (t < case.classes), t, 0)
    single = reference(x, t, **case.options(fmt))
    if case.reduction == "none":
        return single, single
    return reference(x, t, **case.options(fmt), reduction=case.reduction), single


@dataclass(frozen=True, eq=False)
class _Row:
    """One row: ``logits`` (C,) and ``target``, a class index or probabilities (C,), as the dtype holds them."""

    case: Case
    fmt: Format
    row: int
    logits: Float64
    target: Any
    whole: Reference
    single: Reference

    @cached_property
    def x(self) -> Float64:
        """(C,), the logits that the loss is of, which infinite ones are not under a softcap."""
        return self.single.transform.logits(self.logits)

    @property
    def shares(self) -> Float64:
        """(C,), the target before loss options: 1 at a class index."""
        if np.ndim(self.target):
            return np.asarray(self.target, np.float64)
        return np.where(np.arange(self.case.classes) == self.target, 1.0, 0.0)

    @property
    def note(self) -> str:
        x, mass = self.x, float(self.single.mass[self.row])
        if self._invalid:
            return f"target {self.target} is none of the classes: there is no right answer, and nothing to grade"
        if np.isnan(x).any():
            return "ignored: it counts nothing" if mass == 0 else "a NaN logit: loss and gradient are NaN"
        if np.ndim(self.target) == 0 and self.target == self.case.ignore_index:
            return "ignored: it counts nothing"
        if not self.single.defined[self.row]:
            return "no limit exists: what comes out is recorded, never graded"
        if not self.whole.defined[self.row]:
            return "a mean over nothing has no value: what comes out is recorded, never graded"
        return "one logit of +inf: the limit is recorded, never graded" if (x == np.inf).any() else ""

    @property
    def _invalid(self) -> bool:
        return np.ndim(self.target) == 0 and self.case.invalid and not 0 <= self.target < self.case.classes

    @property
    def has_loss(self) -> bool:
        """Whether the loss is above zero, however little: other classes than the target are there."""
        return bool(self.single.mass[self.row] > 0 and self._beside)

    @property
    def _infinite(self) -> bool:
        """Whether the exact loss is infinite, and not a number too large for float64 to hold."""
        wanted = (self.shares > 0) | (self.case.label_smoothing > 0)
        return bool((self.x == np.inf).any() or (self.x[wanted] == -np.inf).any())

    @property
    def _beside(self) -> bool:
        """Whether two classes share the probability, so that neither has all of it nor nothing."""
        return bool(np.isfinite(self.x).sum() > 1 and not (self.x == np.inf).any())

    def line(self) -> tuple[Any, ...]:
        target = -1 if np.ndim(self.target) else int(self.target)
        if self._invalid:
            return self.row, target, "none", math.nan, math.nan, self.note
        loss = self.single.loss[self.row]
        rounded = float(round_to(loss.hi, self.fmt, loss.lo))
        told = digits(loss, positive=self.has_loss)
        told = ABOVE if told == "inf" and not self._infinite else told
        return self.row, target, told, rounded, float(self.single.condition[self.row]), self.note

    def entries(self) -> list[tuple[Any, ...]]:
        z, q, p, g = self.logits, self.shares, self.single.probabilities[self.row], self.whole.gradient[self.row]
        flat = self.single.transform.slopes(z) == 0
        lines = []
        for j in self._classes():
            small = self._beside and bool(np.isfinite(self.x[j]))
            lost = bool(p.hi[j] == 0 or (p.hi[j] == 1 and p.lo[j] == 0) or flat[j])
            beside = small and lost and self.single.mass[self.row] > 0 and bool(np.isfinite(z[j]))
            gradient = "NaN" if self._invalid else digits(g[j], positive=beside)
            given = float(self.case.logits[self.row, j])
            lines.append((self.row, j, float(q[j]), float(z[j]), given, digits(p[j], positive=small), gradient))
        return lines

    def _classes(self) -> list[int]:
        """At most eight classes: the largest target, the extremes, other targets, a mask, and the first."""
        x, q = self.logits, self.shares
        finite = np.flatnonzero(np.isfinite(x))
        extremes = [int(finite[x[finite].argmax()]), int(finite[x[finite].argmin()])] if finite.size else []
        targets = [int(j) for j in np.argsort(-q, kind="stable")[: np.count_nonzero(q)]]
        masked = [int(j) for j in np.flatnonzero(~np.isfinite(x))[:1]]
        wanted = dict.fromkeys([*targets[:1], *extremes, *targets, *masked, *range(min(x.size, MAX_LINES))])
        return sorted(list(wanted)[:MAX_LINES])

    def near(self) -> pd.DataFrame:
        share = (self.shares > 0) | (self.case.label_smoothing > 0)
        return thresholds.near(self.x, share, self._log_loss(), self.fmt)

    def _log_loss(self) -> float:
        loss = float(self.single.loss.hi[self.row])
        return math.log(loss) if 0 < loss < math.inf and not self._invalid else math.nan


def digits(value: Exact, *, positive: bool = False) -> str:
    """An exact value in twenty significant digits, correctly rounded, or in as many as float64's range leaves it.

    Args:
        value: of shape ().
        positive: whether a zero stands for a value too small for float64 to hold.
    """
    hi, lo = float(value.hi), float(value.lo)
    if not math.isfinite(hi):
        return "NaN" if math.isnan(hi) else f"{hi:g}"
    if hi == 0:
        return BENEATH if positive else "0"
    # The pair knows nothing below 2^-1075: 20 digits end where that begins.
    known = min(DIGITS, max(1, math.floor(math.log10(abs(hi)) + 323)))
    return f"{Context(prec=known).add(Decimal(hi), Decimal(lo)):g}"


def show(view: View, console: Console | None = None) -> None:
    """Prints a case: what it is, then row by row the exact answer, the numbers, and the thresholds."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    for line in _heading(view):
        out.print(line)
    for row in view.rows.to_dict("records"):
        out.print()
        _show_row(view, row, out)
    left = view.case.rows - len(view.rows)
    if left:
        out.print(f"\n{len(view.rows)} of {view.case.rows} rows are shown; --row shows one, from 0")


def _heading(v: View) -> Iterator[str]:
    c = v.case
    yield f"{c.id} in {v.dtype}"
    yield c.why
    yield f"shape: {c.rows} x {c.classes}; {_options(c, FORMATS[v.dtype])}"
    absent = [name for name in FORMATS if name not in c.dtypes]
    not_held = f"; not by {', '.join(absent)}: {c.why_unrepresentable(FORMATS[absent[0]])}" if absent else ""
    yield f"held by: {', '.join(c.dtypes)}{not_held}"
    if c.tags:
        yield f"tags: {', '.join(c.tags)}"
    if c.source:
        yield f"source: {c.source}"
    if c.reported:
        yield f"reported: {c.reported}"
    if v.loss is not None:
        yield f"exact {c.reduction} of the row losses: {v.loss}"


def _options(c: Case, fmt: Format) -> str:
    kind = "class probabilities" if c.targets.ndim == 2 else f"class indices of {c.targets.dtype.name}"
    told = [f"targets: {kind}", f"reduction: {c.reduction}", f"layout: {c.layout}"]
    told += [f"{words}: {value}" for words, value in option_texts(c.options(fmt), MAX_LINES)]
    return "; ".join(told)


def _show_row(v: View, line: dict[Any, Any], out: Console) -> None:
    target = "" if line["target"] < 0 else f", target {line['target']}"
    out.print(f"row {line['row']}{target}: loss {line['loss']}")
    if line["note"]:
        out.print(f"   {line['note']}")
    else:
        out.print(f"   rounded to {v.dtype}: {_rounded(line, v.dtype)}; condition number {_number(line['condition'])}")
    of_row = v.entries[v.entries["row"] == line["row"]]
    out.print(_table(of_row, v))
    if len(of_row) < v.case.classes:
        out.print(f"   {len(of_row)} of {v.case.classes} classes are shown")
    for found in v.thresholds[v.thresholds["row"] == line["row"]].to_dict("records"):
        told = f"{'near' if found['near'] else 'past'}: {found['told']}"
        out.print(textwrap.fill(told, out.width, initial_indent="   ", subsequent_indent=" " * 9))


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.4g}"


def _rounded(line: dict[Any, Any], dtype: str) -> str:
    value = line["rounded"]
    if math.isinf(value) and line["loss"] != "inf":
        return f"inf, since it is beyond {FORMATS[dtype].largest:.5g}"
    return repr(value)


def _table(entries: pd.DataFrame, v: View) -> Table:
    """The numbers of a row; a logit that the dtype's rounding changed with what the case has in parentheses."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("", "class", "target", "logit", "probability", "gradient"):
        table.add_column(name, overflow="fold", justify="left" if name in ("", "logit") else "right")
    for e in entries.to_dict("records"):
        exact = e["logit"] == e["given"] or math.isnan(e["given"])
        logit = repr(e["logit"]) if exact else f"{e['logit']!r} ({e['given']:.10g})"
        probability = e["probability"] if e["probability"] == BENEATH else _shorter(e["probability"])
        target = f"{e['target']:.6g}" if v.case.targets.ndim == 2 else ("*" if e["target"] else "")
        table.add_row("", str(e["class"]), target, logit, probability, e["gradient"])
    return table


def _shorter(told: str) -> str:
    """Six digits, which leave room for the gradient's."""
    return told if told == "NaN" else f"{Context(prec=6).create_decimal(told):g}"
