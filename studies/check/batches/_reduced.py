"""Losses that return one number for a batch: the exact answer of the batch, and the batches that are called.

The mean or sum of a batch follows from the exact losses and gradients of its rows. One row may hide the errors of the
others: a mean with an infinite loss is infinite, and beside a loss of 10^28 no other counts. So rows with an ordinary
loss are called together. Rows with another one are called apart, and once all together, for the gradient of each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from math import fsum, inf, isfinite

import numpy as np
from numpy.typing import NDArray

from ....core.rounding import round_to
from ....oracle import Exact, Reference
from ..forms._form import Returns
from ._again import presented_again, tall_with_answers
from ._known import Known
from ._limits import Limits
from ._presentation import Arrangement, CallKind
from ._repeats import Repeat, repeated_calls
from ._rows import Origin, PresentedRows

Index = NDArray[np.intp]
Float64 = NDArray[np.float64]

LARGE = 2.0**12  # from this loss on, a row hides the errors of ordinary rows
NEAR_ZERO = 2.0**-6  # below this loss, ordinary rows hide the errors of a row
FACTORS = 3  # upstream gradients of a batch; a batch has one at a time
QUICK_APART = 6  # about how many rows of a width a quick check calls alone
APART = (CallKind.AGAIN, CallKind.UNTRACKED, CallKind.WEIGHTED)  # the calls, beside the first, of rows that are apart
_SPLIT = 2.0**27 + 1  # Veltkamp's constant: splits a float64 into two halves whose products are exact


def reduced(rows: PresentedRows, reduction: str) -> PresentedRows:
    """Return the rows, which have exact row losses, as a batch with one exact loss."""
    exact, divisor = rows.exact, _divisor(rows) if reduction == Returns.MEAN else Fraction(1)
    if not divisor:
        nothing = np.full(exact.gradient.hi.shape, np.nan)
        loss, gradient = Exact(np.array(np.nan), np.array(0.0)), Exact(nothing, np.zeros_like(nothing))
        scale, defined = 1.0, np.zeros(len(rows), bool)
    else:
        loss, gradient = _reduced_loss(exact, divisor), _divided(exact.gradient, divisor)
        scale, defined = float(1 / divisor), exact.defined
    whole = replace(exact, loss=loss, gradient=gradient, scale=np.array(scale), defined=defined)
    options = replace(rows.options, reduction=str(reduction), announced=True)
    return replace(
        rows, exact=whole, row_losses=exact.loss, row_exact=exact, options=options, per_call=None, origin=None
    )


def row_by_row(rows: PresentedRows) -> PresentedRows:
    """Return the rows of a `reduced` batch with their exact row losses."""
    assert rows.row_exact is not None  # noqa: S101 - for the type checker: only a reduced batch is passed
    options = replace(rows.options, reduction="none", announced=False)
    return replace(rows, exact=rows.row_exact, row_losses=None, row_exact=None, options=options, origin=None)


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches in which rows of one width are called.

    Attributes:
        rows: the rows, with exact row losses.
        name: a name of all rows of the width.
        returns: whether the loss returns their mean or sum.
        limits: the limits of the check.
        few_shapes: whether all batches are filled to one size.
    """

    rows: PresentedRows
    name: str
    returns: Returns
    limits: Limits
    few_shapes: bool
    _known: dict[bytes, tuple[Index, Known]] = field(default_factory=dict, repr=False)

    def as_catalogued(self) -> Iterator[PresentedRows]:
        """Yield the first calls: ordinary rows, near-zero ones, large ones, each other row alone; and some together."""
        rows, kinds = self._distinct, _kinds(self._distinct)
        ordinary = np.flatnonzero(kinds == _ORDINARY)
        yield from self._first(rows, ordinary, "ordinary")
        low = np.flatnonzero((kinds == _ORDINARY) & (rows.exact.loss.hi < NEAR_ZERO))
        if 0 < low.size < ordinary.size:
            yield from self._first(rows, low, "near zero")
        yield from self._first(rows, np.flatnonzero(kinds == _LARGE), "large")
        apart = np.flatnonzero(kinds > _LARGE)
        for place in apart[:: -(-len(apart) // QUICK_APART) or 1] if self.limits.quick else apart:
            yield from self._first(rows, np.array([place]), "apart")
        yield from self._mixed(rows, kinds)

    def _mixed(self, rows: PresentedRows, kinds: NDArray[np.int64]) -> Iterator[PresentedRows]:
        """Yield rows with a finite loss beside some with an infinite one, and beside some with NaN."""
        most = self.limits.max_rows or len(rows)
        finite = np.flatnonzero(kinds <= _LARGE)
        for lost in (np.isinf(rows.exact.loss.hi) & (kinds == _INFINITE), kinds == _NAN):
            some = np.flatnonzero(lost)[: max(1, most // 2)]
            others = finite[: most - len(some)]
            if some.size and others.size:
                together = self._filled(rows.take(np.sort(np.r_[others, some])))
                yield from self._calls(together.arranged(Arrangement.MIXED), "apart")

    def again(self) -> Iterator[PresentedRows]:
        """Yield the other calls."""
        rows, kinds = self._distinct, _kinds(self._distinct)
        for kind in np.unique(kinds[kinds != _HUGE]):
            part = self._filled(rows.take(np.flatnonzero(kinds == kind)))
            group = {_ORDINARY: "ordinary", _LARGE: "large"}.get(kind, "apart")
            for presented in self.limits.again(part, presented_again(part, few_shapes=self.few_shapes)):
                call, arrangement = presented.how.call, presented.how.arrangement
                if kind == _ORDINARY or (call in APART and arrangement is Arrangement.CATALOGUED):
                    yield from self._calls(presented, group)

    def large(self, plan: Collection[Repeat]) -> Iterator[PresentedRows]:
        """Yield ordinary rows in a batch of many wide rows, and in the batches that are called many times."""
        rows = self._distinct
        part = rows.take(np.flatnonzero(_kinds(rows) == _ORDINARY))
        others = chain(tall_with_answers(part), repeated_calls(part, plan)) if len(part) else iter(())
        for presented in self.limits.again(part, others):
            yield from self._calls(presented, "ordinary")

    @property
    def _distinct(self) -> PresentedRows:
        rows = self.rows
        return rows if rows.distinct is None else replace(rows.take(np.s_[: rows.count]), distinct=None)

    def _filled(self, rows: PresentedRows) -> PresentedRows:
        return rows.filled(len(self.rows)) if self.few_shapes and len(rows) else rows

    def _first(self, rows: PresentedRows, places: Index, group: str) -> Iterator[PresentedRows]:
        part = self.limits.first(self._filled(rows.take(places)), few_shapes=self.few_shapes)
        key, at = _key(part)
        for call in self._calls(part, group):
            if call.origin is None and key is not None and len(call) == len(part):
                known = Known(call.logits, call.fmt, call.exact, call.options.reduction, call.row_losses)
                self._known[key] = at, known
                yield replace(call, origin=Origin(known, np.arange(len(call))))
            else:
                yield call

    def _calls(self, presented: PresentedRows, group: str) -> Iterator[PresentedRows]:
        """Yield one batch for each call of the presented rows, and for each upstream gradient.

        Batches of one group are compared with each other.
        """
        size = presented.per_call or len(presented)
        for start in range(0, len(presented), size or 1):
            part = presented.take(np.s_[start : start + size])
            call = replace(reduced(part, self.returns), batch=f"{self.name}, {group}", origin=self._origin(part))
            if call.exact.is_over_nothing(self.returns):
                continue  # a mean over nothing has no value
            if call.how.call is CallKind.WEIGHTED:
                yield from (replace(call, weights=np.full(len(call), f, call.logits.dtype)) for f in _factors(call))
            else:
                yield call

    def _origin(self, part: PresentedRows) -> Origin | None:
        """Return the origin of the same rows, called before, whose grades are known."""
        key, at = _key(part)
        if key is None or key not in self._known or part.origin is None:
            return None
        before, known = self._known[key]
        places = np.argsort(before, kind="stable")[np.argsort(np.argsort(at, kind="stable"), kind="stable")]
        return Origin(known, places, part.origin.classes)


def _key(part: PresentedRows) -> tuple[bytes | None, Index]:
    """Return a key that is equal for the same rows in any order, and the rows' indices in the batch of their width."""
    at = np.arange(0) if part.origin is None else part.origin.places
    return (None if part.origin is None else np.sort(at).tobytes()), at


_ORDINARY, _LARGE, _HUGE, _INFINITE, _NAN, _UNDEFINED = range(6)


def _kinds(rows: PresentedRows) -> NDArray[np.int64]:
    """Return the kind of each row by its exact loss, as the dtype holds it."""
    loss, fmt = rows.exact.loss, rows.fmt
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = round_to(loss.hi, fmt, loss.lo)
    kinds = np.where(rounded >= LARGE, _LARGE, _ORDINARY)
    # The sum of such rows may overflow on the way to a finite mean.
    kinds[rounded > fmt.largest / len(rows)] = _HUGE
    kinds[np.isinf(rounded)] = _INFINITE
    kinds[np.isnan(rounded)] = _NAN
    kinds[~rows.exact.defined | (rows.logits == np.inf).any(axis=1)] = _UNDEFINED
    return kinds


def _factors(call: PresentedRows) -> list[float]:
    """Return the upstream gradients of a batch: the first few that its rows would have."""
    assert call.weights is not None  # noqa: S101 - for the type checker: only weighted rows are passed
    factors = {repr(f): f for f in call.weights.astype(np.float64).tolist()}.values()
    # A row without a gradient, or an ignored row, tests no factor that is 0 or not finite.
    plainly = not (call.exact.defined & np.isfinite(call.exact.gradient.hi).all(axis=1) & (call.exact.mass > 0)).all()
    most = FACTORS if call.how.arrangement is Arrangement.CATALOGUED else 1
    return [f for f in factors if not plainly or (isfinite(f) and f)][:most]


# --- exact arithmetic -------------------------------------------------------------------------------------------


def _divisor(rows: PresentedRows) -> Fraction:
    """Return the exact divisor of a mean: the rows that count, or the summed weights of their targets."""
    values, targets = rows.options.values, rows.targets
    ignored = values.get("ignore_index")
    counted = targets if ignored is None else targets[targets != ignored]
    if "weight" not in values:
        return Fraction(len(counted))
    return sum(map(Fraction, values["weight"].astype(np.float64)[counted].tolist()), Fraction(0))


def _reduced_loss(exact: Reference, divisor: Fraction) -> Exact:
    hi, lo = exact.loss.hi, exact.loss.lo
    if not np.isfinite(hi).all():
        return Exact(np.array(np.nan if np.isnan(hi).any() else inf), np.array(0.0))
    mean = _sum(np.concatenate([hi, lo])) / divisor
    rounded = _float(mean)
    rest = float(mean - Fraction(rounded)) if isfinite(rounded) else 0.0
    return Exact(np.array(rounded), np.array(rest))


def _sum(values: Float64) -> Fraction:
    """Return the sum of float64 numbers to about 106 bits."""
    numbers = values.tolist()
    try:
        total = fsum(numbers)
        return Fraction(total) + Fraction(fsum([*numbers, -total]))
    except OverflowError:
        return sum(map(Fraction, numbers), Fraction(0))


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf


def _divided(values: Exact, divisor: Fraction) -> Exact:
    """Return the values divided by an exact divisor, to about 106 bits."""
    d = float(divisor)
    rest = float(divisor - Fraction(d))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        quotient = values.hi / d
        product, error = _product(quotient, d)
        left = ((values.hi - product) - error) + (values.lo - quotient * rest)
        more = np.where(np.isfinite(quotient) & np.isfinite(left), left / d, 0.0)
        hi = quotient + more
        lo = np.where(np.isfinite(hi), more - (hi - quotient), 0.0)
    return Exact(hi, lo)


def _product(a: Float64, b: float) -> tuple[Float64, Float64]:
    """Return the product rounded to float64, and its error (T. J. Dekker, 1971)."""
    product = a * b
    high = _SPLIT * a - (_SPLIT * a - a)
    low = a - high
    b_high = _SPLIT * b - (_SPLIT * b - b)
    b_low = b - b_high
    return product, ((high * b_high - product) + high * b_low + low * b_high) + low * b_low
