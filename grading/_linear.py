"""The errors that the grades allow if the loss is of hidden states ``h`` (B, H), a weight ``w`` (C, H) and a bias.

With the bias ``b`` and ``v = min(u, 2^-24)`` the computed logit ``z_j = sum_k h_k w_jk + b_j`` differs from the exact
one by at most

    A, B:  d_j = 2 sqrt(H + 1) v (sum_k |h_k w_jk| + |b_j|)
    C:     d_j + u |z_j|, and u |z_j - b_j| more with a bias

The first is a dot product in at least float32, by the probabilistic bound that `_bounds` cites (N. J. Higham and T.
Mary, 2019) with its constant 2. The second
also rounds the product, and its sum with the bias, to the dtype, as ``hidden @ weight.T + bias`` does.

`_transformed` derives how far these neighbours of the logits move the loss and the derivatives ``g_ij`` of the row
losses by the logits. Let ``E_ij`` be that bound for A, with all its roundings in ``v``. Let ``E'_ij`` be the bound for
B with C's neighbours, with roundings in ``u``. A gradient by ``h_ik``, ``w_jk`` or ``b_j`` is a sum of terms
``g_ij f``, where ``f`` is ``w_jk``, ``h_ik`` or 1. With ``n`` the number of terms, ``S = sum |g_ij f|``,
``S' = sum (Q p_ij + q_ij) |f|`` and ``F = sum |f|`` it errs by

    A:  sum E_ij |f| + 2 sqrt(n) v S + u |entry| + t
        a kernel that keeps logits, probabilities and sums in at least float32 and rounds each entry once.
    B:  4 u S' + t F more
        the derivative itself is rounded to the dtype before it is multiplied: ``p_ij`` and ``p_ij - q_ij`` once each,
        and two roundings of a scale or of a partial sum. A derivative below the smallest normal number may vanish.
    C:  B with E' for E, and 2 sqrt(n) u S more
        logits and log-probabilities are rounded, as in the unfused loss. Or the accumulator is held in the dtype: it is
        rounded for each term or chunk of terms.

``S'`` has ``Q p + q`` where ``g`` is ``Q p - q``, since each is rounded before they cancel. So a gradient tells float32
logits from rounded ones where ``u |z|`` is larger than a few ``u``. It tells an accumulator of the dtype from a wider
one where there are more than a few terms.

No loss gives a gradient by the weight if an ignored row has a NaN, which zero times NaN spreads. So it has a verdict
there and no grade.

A loss has the bounds of `_bounds` with what the neighbours of its logits add.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..core.conventions import STANDARD, Convention
from ..core.formats import FORMATS, Format
from ..core.options import as_layer_keywords
from ..core.vocabulary import Quantity
from ..oracle import Exact, LinearReference, linear_reference
from ._bounds import Bounds, RowSizes, loss_bounds, reduced_loss_bounds, wide_unit
from ._standard import Standard
from ._transformed import Transformed

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROUNDED_DERIVATIVE = 4  # roundings of a derivative by a logit that B allows, relative to Q p + q


@dataclass(frozen=True, eq=False)
class LinearStandards:
    """The standards of a batch of the linear problem.

    Attributes:
        hidden, weight, bias: the inputs as the dtype holds them, in float64: (B, H), (C, H), and (C,) or None.
        fmt: the case's dtype.
        exact: the exact answer.
        row_losses: the exact losses before the reduction.
        reduction: ``none``, ``mean`` or ``sum``.
    """

    hidden: Float64
    weight: Float64
    bias: Float64 | None
    fmt: Format
    exact: LinearReference
    row_losses: Exact
    reduction: str = "none"

    @classmethod
    def of_batch(
        cls,
        hidden: NDArray[Any],
        weight: NDArray[Any],
        bias: NDArray[Any] | None,
        targets: NDArray[Any],
        fmt: Format,
        options: Mapping[str, Any],
        reduction: str = "none",
        convention: Convention = STANDARD,
    ) -> Self:
        """Return the standards of inputs as the dtype holds them, with their exact answer.

        ``targets`` and ``options`` are those of a case in the dtype; the other arguments are those of
        `oracle.linear_reference`.
        """
        given = {"bias": bias, "convention": convention, **as_layer_keywords(options)}
        exact = {r: linear_reference(hidden, weight, targets, reduction=r, **given) for r in {"none", reduction}}
        h, w = hidden.astype(np.float64), weight.astype(np.float64)
        b = None if bias is None else bias.astype(np.float64)
        return cls(h, w, b, fmt, exact[reduction], exact["none"].loss, reduction)

    def of(self, quantity: str, *, rows_exposed: bool = False) -> Standard:
        """Return the standard of a quantity; ``rows_exposed`` is that of `grade`."""
        with np.errstate(over="ignore", invalid="ignore"):
            if quantity == Quantity.LOSS:
                return self._loss(rows_exposed=rows_exposed)
            if quantity == Quantity.GRADIENT_HIDDEN:
                return self._by_hidden()
            if quantity == Quantity.GRADIENT_WEIGHT:
                return self._of_batch(self.exact.gradient_weight, lambda e: e.T @ np.abs(self._counted_hidden))
            if self.exact.gradient_bias is None:
                raise ValueError("the batch has no bias, and its loss no gradient by one")
            return self._of_batch(self.exact.gradient_bias, lambda e: e.sum(axis=0))

    # --- logits ------------------------------------------------------------------------------------------------------

    @cached_property
    def _logits(self) -> Float64:
        return self.exact.logits.hi

    @cached_property
    def _counted(self) -> Mask:
        """(B,), the rows with a target weight or a z-loss: an ignored row adds nothing, whatever is in it."""
        counted: Mask = (self.exact.of_logits.mass > 0) | (self.exact.of_logits.gradient.hi != 0).any(axis=1)
        return counted

    @cached_property
    def _counted_hidden(self) -> Float64:
        return np.where(self._counted[:, None], self.hidden, 0.0)

    @cached_property
    def _logit_errors(self) -> Bounds:
        """``d_j`` of each logit (B, C)."""
        bias = np.zeros(len(self.weight)) if self.bias is None else self.bias
        sizes = np.abs(self._counted_hidden) @ np.abs(self.weight).T + np.abs(bias)
        product = 2 * np.sqrt(self.hidden.shape[1] + 1) * wide_unit(self.fmt) * sizes
        z = np.abs(self._logits)
        rounded = z + (0.0 if self.bias is None else np.abs(self._logits - bias))
        wide, narrow = (
            np.nan_to_num(d, nan=0.0, posinf=0.0) for d in (product, product + self.fmt.unit_roundoff * rounded)
        )
        return Bounds(wide, wide, narrow)

    def _transformed(self, errors: Bounds) -> Transformed:
        return Transformed.with_errors(self._logits, self.exact.of_logits, errors)

    # --- loss --------------------------------------------------------------------------------------------------------

    @property
    def _rows(self) -> RowSizes:
        of_logits = self.exact.of_logits
        rows = RowSizes.of(of_logits.transform.logits(self._logits), of_logits.mass)
        return replace(rows, beside=self._transformed(self._logit_errors).loss_allowances)

    def _graded_rows(self) -> Mask:
        return self.exact.of_logits.defined & ~np.isposinf(self._logits).any(axis=1)

    def _loss(self, *, rows_exposed: bool) -> Standard:
        exact, graded = self.exact.of_logits, self._graded_rows()
        nothing = exact.mass == 0
        wanted = Exact(exact.loss.hi.reshape(-1, 1), exact.loss.lo.reshape(-1, 1))
        if self.reduction == "none":
            bounds = loss_bounds(exact.loss.hi, self._rows, self.fmt)
            has_answer = graded | (nothing & (exact.loss.hi == 0))
        else:
            bounds = reduced_loss_bounds(
                self.row_losses.hi, self._rows, self.fmt, exact.scale, rows_exposed=rows_exposed
            )
            graded = np.array([self._whole_batch()])
            has_answer = graded
        return Standard.of_values(self.fmt, wanted, Bounds(*(b[:, None] for b in bounds)), graded, None, has_answer)

    def _whole_batch(self) -> bool:
        """Whether every row that counts has an answer, and a mean has such a row."""
        of_logits = self.exact.of_logits
        return bool((self._graded_rows() | ~self._counted).all()) and not of_logits.is_over_nothing(self.reduction)

    # --- gradients ---------------------------------------------------------------------------------------------------

    @cached_property
    def _derivatives(self) -> "_Derivatives":
        return _Derivatives.of(self)

    def _by_hidden(self) -> Standard:
        magnitudes = np.where(np.isfinite(self.weight), np.abs(self.weight), 0.0)
        bounds = self._entries(self.exact.gradient_hidden, lambda e: e @ magnitudes, len(self.weight))
        graded = self._graded_rows()
        unsigned = np.full(len(self.hidden), -1)
        has_answer = graded | ~self._counted
        return Standard.of_values(self.fmt, self.exact.gradient_hidden, bounds, graded, unsigned, has_answer)

    def _of_batch(self, wanted: Exact, summed: Callable[[Float64], Float64]) -> Standard:
        bounds = self._entries(wanted, summed, int(self._counted.sum()))
        has_answer = np.array([self._whole_batch()])
        graded = has_answer & np.isfinite(self.hidden[~self._counted]).all()
        flat = Exact(wanted.hi.reshape(1, -1), wanted.lo.reshape(1, -1))
        in_one_row = Bounds(*(bound.reshape(1, -1) for bound in bounds))
        return Standard.of_values(self.fmt, flat, in_one_row, graded, np.array([-1]), has_answer)

    def _entries(self, wanted: Exact, summed: Callable[[Float64], Float64], terms: int) -> Bounds:
        """Return the bounds of entries; ``summed`` sums magnitudes (B, C) times ``|f|`` over the terms of each."""
        d, u, t = self._derivatives, self.fmt.unit_roundoff, self.fmt.smallest_normal
        size = summed(d.size)
        once = 2 * np.sqrt(terms) * wide_unit(self.fmt) * size + u * np.abs(wanted.hi) + t
        rounded = ROUNDED_DERIVATIVE * u * summed(d.parts) + t * summed(np.ones(d.size.shape))
        a = summed(d.error) + once
        c = summed(d.error_of_rounded) + once + rounded + 2 * np.sqrt(terms) * u * size
        return Bounds(a, a + rounded, c)


@dataclass(frozen=True, eq=False)
class _Derivatives:
    """``|g|``, ``Q p + q``, ``E`` and ``E'`` of each logit (B, C), 0 in rows without an answer."""

    size: Float64
    parts: Float64
    error: Float64
    error_of_rounded: Float64

    @classmethod
    def of(cls, batch: LinearStandards) -> Self:
        exact, errors = batch.exact.of_logits, batch._logit_errors
        # The formats of float64 are as wide as their sums; all others are graded as if the derivative were in float32.
        wide = batch.fmt if batch.fmt.unit_roundoff < FORMATS["float32"].unit_roundoff else FORMATS["float32"]
        near = batch._transformed(errors).gradient_bounds(wide, exact.scale).a
        far = batch._transformed(Bounds(errors.c, errors.c, errors.c)).gradient_bounds(batch.fmt, exact.scale).b
        size = np.abs(exact.gradient.hi)
        # g = Q p - q, so that q = Q p - g and Q p + q = 2 Q p - g; with a z-loss or a slope |g| is larger.
        parts = np.maximum(2 * exact.scale * exact.mass[:, None] * exact.probabilities.hi - exact.gradient.hi, size)
        counted = batch._counted[:, None]
        return cls(*(_finite(np.where(counted, values, 0.0)) for values in (size, parts, near, far)))


def _finite(values: Any) -> Float64:
    finite: Float64 = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return finite
