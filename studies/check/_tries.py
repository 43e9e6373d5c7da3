"""The tries of a check: every batch in every presentation; and the rows that fail worst."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product

import numpy as np
import pandas as pd

from ...cases import Case
from ...core.errors import UsageError
from ...core.formats import FORMATS, Format, get_format
from ...core.progress import Progress
from ...core.rounding import quantize
from ...core.vocabulary import Quantity, Status
from ...execution.worker import Outcome
from ...frameworks import Batch
from .batches._again import presented_again, tall_batches
from .batches._limits import NO_LIMITS, Limits
from .batches._presentation import CATALOGUED, CallKind, Presentation
from .batches._reduced import Batches, reduced, row_by_row
from .batches._repeats import Repeat, planned, repeated_calls, until_it_differs
from .batches._rows import PresentedRows, batches, number_of_batches
from .forms._form import Layout, Returns
from .forms._layout import held_targets
from .judging._failures import KEYS, Failures
from .judging._properties import PROPERTIES, explaining
from .measuring._huge import huge_batch
from .measuring._lines import ANY, Line, Lines, Required, badnesses, each_line, table
from .measuring._loss import REDUCED, Candidate
from .measuring._measure import measure
from .measuring._races import IN_SOME, Recalls
from .reproducing._shrink import Failing

DISAGREEMENT = "DisagreementError"  # ranks returned different losses: a fault, which a check reports
PROBED = ((3, 5), (2, 2), (128, 1024))  # (B, C): narrow rows, and a batch that a kernel's blocks divide
PROBED_POSITIONS = ((6, 5), (4, 3), (128, 1024))  # the same for logits with positions: not prime
MAX_SHRUNK = 300_000  # logits of a batch to shrink with its other rows; of a larger one, only copies of the row
MAX_COPIES = 2**22  # logits of these copies
COPIED_FROM = 256  # from this many rows before a failing one, copies replace them
WORST_SHRUNK = 5  # failing rows that are shrunk to find the smallest


@dataclass(frozen=True, eq=False)
class Tries:
    """A loss, its cases, the dtypes, the size and the required grades; ``few_shapes``: each shape is compiled."""

    candidate: Candidate
    cases: Sequence[Case]
    dtypes: Sequence[str]
    few_shapes: bool
    limits: Limits = NO_LIMITS
    required: Required = ANY

    def measured(self, progress: Progress | None) -> Iterator[list[Lines]]:
        """Yield the lines of each batch in each presentation.

        Raises:
            UsageError: if neither the first batch nor any ordinary batch can be measured.
        """
        formats = [get_format(dtype) for dtype in self.dtypes]
        total = (
            sum(number_of_batches(self.cases, fmt, internal=self._internal) for fmt in formats)
            if progress is not None
            else 0
        )
        done = 0
        recalls = Recalls(self.required)
        for fmt in formats:
            if fmt is not formats[0]:
                self.candidate.framework.forget_programs()  # those of another dtype
            tried = batches(self.cases, fmt, few_shapes=self.few_shapes, internal=self._internal)
            for rows in self._held(tried):
                if progress is not None:
                    progress(done, total, f"{fmt.name}, {rows.classes:,} classes")
                first, again = self._calls(rows)
                once = [lines for call in first for lines in self._measure(call, recalls)]
                as_it_stands = all(lines.status == Status.OK for lines in once)
                if done == 0 and not as_it_stands:
                    _require_measurable(self.candidate, self.dtypes, self.limits)
                done += 1
                yield once
                # Rows that raise or are not supported are not tried in other presentations.
                for call in self._held(again) if as_it_stands else ():
                    yield self._measure(call, recalls)
        if self.limits.huge and done:
            if progress is not None:
                progress(total, total, "a huge batch")
            yield from huge_batch(self.candidate, self.dtypes)
        if not done:
            _require_measurable(self.candidate, self.dtypes, self.limits)

    def presented(self, fmt: Format, classes: int) -> Iterator[PresentedRows]:
        """Yield the rows of a width in each presentation, as they were measured."""
        cases = [case for case in self.cases if case.classes == classes]
        for rows in self._held(batches(cases, fmt, few_shapes=self.few_shapes, internal=self._internal)):
            first, again = self._calls(rows)
            yield from chain(first, self._held(again))

    @property
    def _internal(self) -> Format | None:
        name = self.candidate.form.internal
        return None if name is None else get_format(name)

    def _calls(self, rows: PresentedRows) -> tuple[Iterator[PresentedRows], Iterator[PresentedRows]]:
        """Return the rows as the loss gets them at first, and in all other presentations."""
        few, limits, returns = self.few_shapes, self.limits, self.candidate.form.returns
        if rows.options.reduced and returns is not Returns.ROWS:  # a case that is a mean or a sum
            options = replace(rows.options, announced=True)
            whole = replace(rows, options=options, how=Presentation(options=str(options)), batch=str(rows.ids[0]))
            return iter([whole]), limits.again(whole, presented_again(whole))
        if rows.options.reduced:
            return iter([rows]), limits.again(rows, presented_again(rows, few_shapes=few))
        thinned, plan = limits.thinned(rows), self._plan(rows.dtype)
        if returns is Returns.ROWS:
            again = (limits.again(some, presented_again(some, few_shapes=few)) for some in thinned)
            others = chain(tall_batches(rows, few_shapes=few), repeated_calls(rows, plan))
            return iter([limits.first(rows, few_shapes=few)]), chain(*again, limits.again(rows, others))
        batches_of = partial(Batches, name=str(rows.ids[0]), returns=returns, limits=limits, few_shapes=few)
        again = (batches_of(some).again() for some in thinned)
        return batches_of(rows).as_catalogued(), chain(chain.from_iterable(again), batches_of(rows).large(plan))

    def _plan(self, dtype: str) -> tuple[Repeat, ...]:
        """Return the batches that are called many times."""
        widths = {case.classes for case in self.cases if case.plain}
        return planned(widths, self.limits, first_dtype=dtype == self.dtypes[0], few_shapes=self.few_shapes)

    def _measure(self, rows: PresentedRows, recalls: Recalls) -> list[Lines]:
        """Return the lines of a batch; one that fails is called again."""
        return recalls.confirmed(rows, measure(self.candidate, rows), lambda: measure(self.candidate, rows))

    def _held(self, tried: Iterable[PresentedRows]) -> Iterator[PresentedRows]:
        """Yield the rows whose targets the form of the loss can hold."""
        for rows in tried:
            held = held_targets(rows.targets, rows.logits, self.candidate.form)
            if held.all():
                yield rows
            elif held.any() and not rows.options.reduced:  # a reduced loss is that of all rows
                yield rows.take(np.flatnonzero(held))


def measure_all(
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
    what = f"has grade {line.grade} ({line.verdict})" if line.grade else line.detail or line.verdict
    return f"{line.named}: {line.quantity} {what}"


def _require_measurable(candidate: Candidate, dtypes: Sequence[str], limits: Limits) -> None:
    """Raise a UsageError, with the error of the first call, if no ordinary batch gives row losses in any dtype.

    The same holds for a user's gradient function. A loss that fails on some inputs or dtypes only, or whose ranks
    disagree, is measured, and its failures are reported.
    """
    rng = np.random.default_rng(0)
    options = candidate.plain_options
    wanted = set(candidate.quantities if candidate.gradient is not None else ("loss",))
    tried: list[Outcome] = []
    sizes: Sequence[tuple[int, int]] = PROBED if candidate.form.layout is Layout.BC else PROBED_POSITIONS
    if candidate.sharding is not None:
        sizes = tuple((rows, candidate.sharding.divisible(classes)) for rows, classes in sizes)
    for probed, dtype in product(sizes, dict.fromkeys([*dtypes, *FORMATS])):
        shape = limits.nearest(*probed)
        logits = quantize(np.round(rng.normal(size=shape) * 16) / 16, get_format(dtype))
        targets = rng.integers(shape[1], size=shape[0])
        tried.append(candidate.call(Batch(logits, targets, options.reduction), options))
        if wanted <= {quantity for quantity, _ in tried[-1].values} or tried[-1].detail.startswith(DISAGREEMENT):
            return
    what = "the gradient" if tried[0].values else "the loss"
    detail = tried[0].detail
    advice = f"expected {candidate.form.rows} of {candidate.form.arguments}"
    if options.reduced:
        advice = f"leave out --returns {options.reduction} for a loss that returns row losses (B,)"
    elif REDUCED in detail:
        advice = "for a loss that returns its mean or sum, add --returns mean or --returns sum"
    elif "the loss is tuple" in detail or "the loss is list" in detail or "the loss is dict" in detail:
        advice = "give the index or name of the loss in it as output (--output 0)"
    elif "; expected " in detail:
        advice = ""  # the message says it
    first = f"cannot measure {what} of {candidate.name}: every call fails, the first with {detail}"
    raise UsageError(f"{first}; {advice}" if advice else first)


def worst_rows(found: Failures, tries: Tries) -> Iterator[Failing]:
    """Yield a few of the rows that fail worst and break the property that explains most failures; narrow rows first."""
    lines, failed = found.lines, found.failed
    name = explaining(found)
    broken = failed if name is None else PROPERTIES[name].breaks(found)
    # If a row is right in another presentation, its failure in the catalogue's own counts.
    plainly = lines["how"].eq(str(CATALOGUED)).to_numpy(bool)
    failures = lines[failed & (broken | (plainly & found.among(broken & ~failed, KEYS)))]
    as_catalogued = failures["how"].eq(str(CATALOGUED))
    if name is None and as_catalogued.any():  # no other kind of call is to blame
        failures = failures[as_catalogued]
    yield from _worst_of(failures, name, tries)


def plainly_failing_rows(found: Failures, tries: Tries) -> Iterator[Failing]:
    """Yield a few of the rows that fail worst as catalogued, whatever property they break."""
    failures = found.lines[found.failed & found.lines["how"].eq(str(CATALOGUED)).to_numpy(bool)]
    if not failures.empty:
        yield from _worst_of(failures, None, tries)


def _worst_of(failures: pd.DataFrame, name: str | None, tries: Tries) -> Iterator[Failing]:
    # Prefer finite numbers: a loss that mishandles NaN often has another defect too.
    numbers = failures[~failures["has_nan"]]
    finite = numbers[~numbers["has_mask"]]
    worst = next(some for some in (finite, numbers, failures) if not some.empty)
    bad = badnesses(worst)
    worst = worst[bad == bad.max()]
    narrow = worst.assign(_other=worst["how"].ne(str(CATALOGUED))).sort_values(["_other", "classes"], kind="stable")
    few = narrow.drop_duplicates(["classes", "how", "quantity", "dtype"]).head(WORST_SHRUNK)
    for line in each_line(few):
        yield from (replace(each, property=name) for each in _batch_of(line, tries))


def _batch_of(line: Line, tries: Tries) -> Iterator[Failing]:
    for rows in tries.presented(get_format(line.dtype), line.classes):
        if str(rows.how) != line.how.removesuffix(IN_SOME):
            continue
        if rows.batch is not None:
            yield from _of_reduced(line, rows)
            continue
        place, quantity = line.place, Quantity(line.quantity)
        # A reduced loss does not belong to a row.
        number = line.row if line.row < 0 or place >= len(rows) else rows.numbers[place]
        if place < len(rows) and (rows.ids[place], number) == (line.case, line.row):
            start = place // rows.per_call * rows.per_call if rows.per_call else 0
            size = min(rows.per_call or len(rows), len(rows) - start)
            if size * rows.classes > MAX_SHRUNK:
                yield Failing(rows.take([place]), 0, quantity, None)
                copies = min(size, MAX_COPIES // rows.classes)
                for at in (copies - 1, 0) if copies > 1 else ():  # the end of a batch fails more often than its start
                    yield Failing(rows.take(np.full(copies, place)), at, quantity, None)
                return
            called, place = rows.take(np.s_[start : start + size]), place - start
            # First in its batch if it fails there too, else last in a batch of the same size. In a very large batch
            # the other rows are copies of it, which a program can write in one line.
            foremost = np.r_[place, np.delete(np.arange(len(called)), place)]
            if line.call == CallKind.REPEATED:
                yield Failing(until_it_differs(called.take(foremost)), 0, quantity, None)
                return
            yield Failing(called.take(foremost), 0, quantity, None)
            if rows.options.reduced:
                return
            before = np.s_[: place + 1] if place < COPIED_FROM else np.full(place + 1, place)
            yield Failing(called.take(before), place, quantity, None)
            return


def _of_reduced(line: Line, rows: PresentedRows) -> Iterator[Failing]:
    """Yield the batch of a loss that returns one number for it, if the line may be of this batch."""
    if rows.batch != line.batch:
        return
    quantity, place = Quantity(line.quantity), line.place
    if rows.logits.size > MAX_SHRUNK:
        if rows.row_exact is not None and place < len(rows):
            one = int(np.argmax(rows.row_exact.loss.hi)) if quantity is Quantity.LOSS else place
            yield Failing(reduced(row_by_row(rows).take([one]), rows.options.reduction), 0, quantity, None)
        return
    if quantity is Quantity.LOSS:
        if np.isnan(line.exact) or line.exact == rows.exact.loss.hi:
            if len(rows) > COPIED_FROM and rows.row_exact is not None:
                same = np.full(len(rows), np.argmax(rows.row_exact.loss.hi))
                yield Failing(reduced(row_by_row(rows).take(same), rows.options.reduction), 0, quantity, None)
            yield Failing(rows, 0, quantity, None)
    elif place < len(rows) and (rows.ids[place], rows.numbers[place]) == (line.case, line.row):
        others = np.delete(np.arange(len(rows)), place)
        yield Failing(rows.take(np.r_[place, others]), 0, quantity, None)
        yield Failing(rows.take(np.r_[others, place]), len(others), quantity, None)
