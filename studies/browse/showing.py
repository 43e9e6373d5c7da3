"""One case in a dtype: its numbers, the exact answer in twenty digits, and nearby thresholds."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ...cases import Case, LinearCase
from ...cases.inputs import find_case
from ...core.errors import UsageError
from ...core.formats import FORMATS, Array, Format, get_format
from ...core.options import option_texts
from ...core.rounding import round_to
from ...oracle import Reference, reference
from ._digits import ABOVE, BENEATH, digits
from ._linear import LinearView, tables
from ._thresholds import Approach, near

Float64 = NDArray[np.float64]

WIDTH = 100
MAX_LINES = 8  # shown rows, and shown classes of a row


@dataclass(frozen=True)
class ShownClass:
    """A class of a row, with its probability and its gradient (of the case's reduction) in twenty digits."""

    index: int
    target: float  # its share before loss options
    logit: float  # as the dtype holds it
    given: float  # as the case has it
    probability: str
    gradient: str


@dataclass(frozen=True, eq=False)
class RowView:
    """One row: ``logits`` (C,) and ``target``, a class index or probabilities (C,), as the dtype holds them.

    ``whole`` is the exact answer of the case, ``single`` the exact answer without the reduction.
    """

    case: Case
    fmt: Format
    row: int
    logits: Float64
    target: Array
    whole: Reference
    single: Reference

    @cached_property
    def x(self) -> Float64:
        """The logits (C,) after scale and softcap, which makes infinite logits finite."""
        return self.single.transform.logits(self.logits)

    @property
    def shares(self) -> Float64:
        """The target (C,) before loss options: 1 at a class index."""
        if np.ndim(self.target):
            return np.asarray(self.target, np.float64)
        return np.where(np.arange(self.case.classes) == self.target, 1.0, 0.0)

    @property
    def note(self) -> str:
        x, mass = self.x, float(self.single.mass[self.row])
        if self._invalid:
            return f"target {self.target} is not a class: the result has no exact value and is not graded"
        if np.isnan(x).any():
            return "ignored: loss and gradient are 0" if mass == 0 else "a NaN logit: loss and gradient are NaN"
        if np.ndim(self.target) == 0 and self.target == self.case.ignore_index:
            return "ignored: loss and gradient are 0"
        if not self.single.defined[self.row]:
            return "no limit exists: the result is recorded but not graded"
        if not self.whole.defined[self.row]:
            return "a mean over nothing has no value: the result is recorded but not graded"
        return "one logit of +inf: the result is recorded but not graded" if (x == np.inf).any() else ""

    @property
    def _invalid(self) -> bool:
        return np.ndim(self.target) == 0 and self.case.invalid and not 0 <= self.target < self.case.classes

    @property
    def has_loss(self) -> bool:
        """Whether the exact loss is above zero, because other classes have a probability too."""
        return bool(self.single.mass[self.row] > 0 and self._beside)

    @property
    def _infinite(self) -> bool:
        """Whether the exact loss is infinite, and not only too large for float64."""
        wanted = (self.shares > 0) | (self.case.label_smoothing > 0)
        return bool((self.x == np.inf).any() or (self.x[wanted] == -np.inf).any())

    @property
    def _beside(self) -> bool:
        """Whether at least two classes have a probability other than 0 and 1."""
        return bool(np.isfinite(self.x).sum() > 1 and not (self.x == np.inf).any())

    @property
    def loss(self) -> str:
        """The exact loss in twenty digits, ``none`` if the target is not a class.

        It is `BENEATH` or `ABOVE` if float64 cannot hold it.
        """
        if self._invalid:
            return "none"
        loss = digits(self.single.loss[self.row], positive=self.has_loss)
        return ABOVE if loss == "inf" and not self._infinite else loss

    @property
    def rounded(self) -> float:
        """The exact loss as the dtype holds it."""
        exact = self.single.loss[self.row]
        return float(round_to(exact.hi, self.fmt, exact.lo))

    @property
    def condition(self) -> float:
        """The condition number of the loss."""
        return float(self.single.condition[self.row])

    def classes(self) -> Iterator[ShownClass]:
        z, q, p, g = self.logits, self.shares, self.single.probabilities[self.row], self.whole.gradient[self.row]
        flat = self.single.transform.slopes(z) == 0
        for j in self._chosen_classes():
            small = self._beside and bool(np.isfinite(self.x[j]))
            lost = bool(p.hi[j] == 0 or (p.hi[j] == 1 and p.lo[j] == 0) or flat[j])
            beside = small and lost and self.single.mass[self.row] > 0 and bool(np.isfinite(z[j]))
            gradient = "NaN" if self._invalid else digits(g[j], positive=beside)
            given = float(self.case.logits[self.row, j])
            yield ShownClass(j, float(q[j]), float(z[j]), given, digits(p[j], positive=small), gradient)

    def _chosen_classes(self) -> list[int]:
        """Return at most eight classes: the largest target, the extremes, other targets, a mask, and the first."""
        x, q = self.logits, self.shares
        finite = np.flatnonzero(np.isfinite(x))
        extremes = [int(finite[x[finite].argmax()]), int(finite[x[finite].argmin()])] if finite.size else []
        targets = [int(j) for j in np.argsort(-q, kind="stable")[: np.count_nonzero(q)]]
        masked = [int(j) for j in np.flatnonzero(~np.isfinite(x))[:1]]
        wanted = dict.fromkeys([*targets[:1], *extremes, *targets, *masked, *range(min(x.size, MAX_LINES))])
        return sorted(list(wanted)[:MAX_LINES])

    def thresholds(self) -> list[Approach]:
        """Return the thresholds that the row is near or past."""
        share = (self.shares > 0) | (self.case.label_smoothing > 0)
        loss = float(self.single.loss.hi[self.row])
        log_loss = math.log(loss) if 0 < loss < math.inf and not self._invalid else math.nan
        return near(self.x, share, log_loss, self.fmt)


@dataclass(frozen=True, eq=False)
class View:
    """One case in one dtype.

    Attributes:
        case, dtype: the case and the dtype.
        loss: the exact reduced loss in twenty digits; None if the case has no reduction.
        rows: the shown rows.
    """

    case: Case
    dtype: str
    loss: str | None
    rows: tuple[RowView, ...]


def view(case: str, dtype: str = "float32", row: int | None = None) -> View | LinearView:
    """Return one case in one dtype, with its first eight rows or one row.

    Of more than eight classes, the targets, the extremes and the first are kept. A case of hidden states has its exact
    losses and the largest entries of its exact gradients, not its logits.

    Raises:
        UsageError: for an unknown case, a dtype that cannot hold it, or a row out of range.
    """
    fmt, chosen = get_format(dtype), find_case(case)
    if not chosen.is_measured_in(fmt.name):
        choose = f"choose one of {', '.join(chosen.dtypes)}"
        raise UsageError(f"{fmt.name} cannot hold {case}: {chosen.why_unrepresentable(fmt)}; {choose}")
    if row is not None and not 0 <= row < chosen.rows:
        fix = f"give a row from 0 to {chosen.rows - 1}" if chosen.rows else "it has no rows; choose another case"
        raise UsageError(f"{case} has no row {row}; {fix}")
    if isinstance(chosen, LinearCase):
        shown = range(min(chosen.rows, MAX_LINES)) if row is None else (row,)
        return LinearView.of(chosen, fmt, tuple(shown))
    x, t = chosen.quantized(fmt), chosen.quantized_targets(fmt)
    whole, single = _answers(chosen, fmt)
    rows = [RowView(chosen, fmt, r, x[r].astype(np.float64), t[r], whole, single) for r in range(chosen.rows)]
    reduces = chosen.reduction != "none"
    loss = digits(whole.loss, positive=any(r.has_loss for r in rows)) if reduces else None
    return View(chosen, fmt.name, loss, tuple(rows[:MAX_LINES] if row is None else rows[row : row + 1]))


def _answers(case: Case, fmt: Format) -> tuple[Reference, Reference]:
    """Return the exact answer of the case, and without its reduction. A target that is not a class is replaced by 0."""
    x, t = case.quantized(fmt), case.quantized_targets(fmt)
    if case.invalid:
        t = np.where((t >= 0) & (t < case.classes), t, 0)
    single = reference(x, t, **case.options(fmt))
    if case.reduction == "none":
        return single, single
    return reference(x, t, **case.options(fmt), reduction=case.reduction), single


def show(view: View | LinearView, console: Console | None = None) -> None:
    """Print a case: its description, then for each row the exact answer, the numbers and the thresholds.

    Of a case of hidden states, print a table of the rows and a table of the gradients.
    """
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    for line in _heading(view):
        out.print(line)
    if isinstance(view, LinearView):
        for table in tables(view):
            out.print()
            out.print(table)
    else:
        for row in view.rows:
            out.print()
            _show_row(view, row, out)
    left = view.case.rows - len(view.rows)
    if left:
        out.print(f"\n{len(view.rows)} of {view.case.rows} rows are shown; for another, give --row")


def _heading(v: View | LinearView) -> Iterator[str]:
    c = v.case
    yield f"{c.id} in {v.dtype}"
    yield c.why
    shape = c.shapes if isinstance(c, LinearCase) else f"shape: {c.rows} x {c.classes}"
    yield f"{shape}; {_options(c, get_format(v.dtype))}"
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
    parts = [f"targets: {kind}", f"reduction: {c.reduction}", f"layout: {c.layout}"]
    parts += [f"{title}: {value}" for title, value in option_texts(c.options(fmt), MAX_LINES)]
    return "; ".join(parts)


def _show_row(v: View, row: RowView, out: Console) -> None:
    target = "" if np.ndim(row.target) or row.target < 0 else f", target {row.target}"
    out.print(f"row {row.row}{target}: loss {row.loss}")
    if row.note:
        out.print(f"   {row.note}")
    else:
        condition = "NaN" if math.isnan(row.condition) else f"{row.condition:.4g}"
        beyond = not math.isfinite(row.rounded) and row.loss != "inf"
        largest = f"{row.rounded}, since it is beyond {get_format(v.dtype).largest:.5g}"
        rounded = largest if beyond else repr(row.rounded)
        out.print(f"   rounded to {v.dtype}: {rounded}; condition number {condition}")
    classes = list(row.classes())
    out.print(_table(classes, v))
    if len(classes) < v.case.classes:
        out.print(f"   {len(classes)} of {v.case.classes} classes are shown")
    for found in row.thresholds():
        line = f"{'near' if found.near else 'past'}: {found.wording}"
        out.print(textwrap.fill(line, out.width, initial_indent="   ", subsequent_indent=" " * 9))


def _table(classes: Sequence[ShownClass], v: View) -> Table:
    """Return the numbers of a row. A logit changed by rounding is followed by the case's own in parentheses."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("", "class", "target", "logit", "probability", "gradient"):
        table.add_column(name, overflow="fold", justify="left" if name in ("", "logit") else "right")
    for c in classes:
        exact = c.logit == c.given or math.isnan(c.given)
        logit = repr(c.logit) if exact else f"{c.logit!r} ({c.given:.10g})"
        # Six digits of a probability leave room for the gradient's twenty.
        is_number = c.probability not in (BENEATH, "NaN")
        probability = f"{Context(prec=6).create_decimal(c.probability):g}" if is_number else c.probability
        target = f"{c.target:.6g}" if v.case.targets.ndim == 2 else ("*" if c.target else "")
        table.add_row("", str(c.index), target, logit, probability, c.gradient)
    return table
