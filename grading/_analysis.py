"""Stability ratios and a-priori error bounds, to compare with measured errors.

The bounds are by P. Blanchard, D. J. Higham and N. J. Higham, *Accurately computing the log-sum-exp and softmax
functions*, IMA J. Numer. Anal. 41, 2021, pages 2311-2330, doi 10.1093/imanum/draa038. There they are of first order in
the unit roundoff ``u``. Here they are rigorous. With ``n`` finite logits ``x``, ``a = max x``, ``y = log sum exp x``,
the target's logit ``x_t``, the loss ``L = y - x_t`` and ``D = a - min x``:

==================  ======================================  ==========================================================
softmax, unshifted  Theorem 3.3                             ``(n + 3) u max p``
softmax, shifted    Theorem 4.3                             ``(n + 2 + 2 D) u max p``
loss, unshifted     log of the softmax, or ``y - x_t``      ``(L + n + 1 + max(2, |y|)) u``
loss, shifted       ``(a + log s) - x_t``, or               ``(L + n + D + (y - a) + max(|y|, 1 + a - x_t)) u``
                    ``log s + (a - x_t)``
==================  ======================================  ==========================================================

The paper has no loss. Its log-sum-exp errs by ``(|y| + n + 1) u`` unshifted (before Theorem 3.2). The same derivation
gives ``(|y| + (y - a) + n + D) u`` shifted: the sum ``s``, the shifted logits, the logarithm and adding ``a`` back are
rounded. Subtracting ``x_t`` rounds once more, ``L u``. The negative logarithm of the softmax is another way to the same
loss. Theorem 3.3 holds for each component, so this way errs by ``(L + n + 3) u``. Shifted it is ``log s + (a - x_t)``.
It rounds ``a - x_t`` instead of ``y``, and once more if a wider value is rounded to the dtype at the end. The bound is
the larger of the two.

The first order becomes a bound as follows. A computed sum of positive terms, or a quotient, is the exact one times
``k`` factors ``1 + d`` or their inverses, ``|d| <= u``. They multiply to ``exp(r)``, ``|r| <= k u / (1 - u)``. Rounding
``x - a`` multiplies its exponential by ``exp(d (x - a))``. So the softmax errs by ``expm1(r) p``, and a logarithm by
``r`` and its own rounding, for every ``n``. The condition ``n u < 1`` is not needed.

The paper and the bounds let exp and log err by ``u`` (`FUNCTION_ROUNDINGS`). A library whose functions are worse may
exceed the bounds, and the table shows it.

The theorems exclude overflow and underflow: an unshifted row with either has no bound. A shifted exponential does not
overflow. It underflows below the smallest normal number ``t``, and hardware may flush it to zero. It is then left
out of ``D``, and the sum, which is at least 1, may miss ``2 t``.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format, Overflow
from ..oracle import Reference

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The error of exp, log and log1p in u, as the paper assumes. It holds in 16 bits, where they are evaluated wider and
# rounded. The largest errors measured in float32 on x86-64 are: NumPy 2 exp 3.2 and log 3.8, PyTorch 2.13 log 1.4,
# TensorFlow 2.21 log 3.7 and log1p 4.4, JAX log1p 3.3. The written log1p squares exponentials of half the argument,
# which is three roundings. The bounds' n leaves room for most of it.
FUNCTION_ROUNDINGS = 1.0


def stability_ratio(error: Float64, loss: Float64, condition: Float64, fmt: Format) -> Float64:
    """Return ``(|computed - L| / L) / (condition u)``: the error over the error that rounding the logits can cause.

    It is of order 1 for a stable evaluation of an ill-conditioned loss. It is large where digits are lost that the
    logits determine. If the condition is below 1, rounding the exact loss gives up to ``1 / condition``.

    Args:
        error: (B,) absolute errors; infinite where a loss is not of its exact value's kind, NaN where not graded.
        loss: (B,) exact losses ``L``.
        condition: (B,) ``max|x| sum|g| / L``, from the reference.
        fmt: the dtype with the unit roundoff ``u``.

    Returns:
        (B,), infinite where the error is; NaN where it is not graded, and where the condition is 0 or NaN.
    """
    known = (condition > 0) & np.isfinite(loss)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        relative = error / np.where(known, loss, 1.0)
        ratio = relative / fmt.unit_roundoff / np.where(known, condition, 1.0)
    # A condition of 1e-300 must not give infinity, which means that the loss is not of its exact value's kind.
    ratio = np.where(np.isinf(error), error, np.minimum(ratio, np.finfo(np.float64).max))
    return np.where(known, ratio, np.nan)


def apriori_bounds(
    quantity: str,
    logits: NDArray[Any],
    targets: NDArray[Any],
    fmt: Format,
    exact: Reference,
    *,
    function_roundings: float = FUNCTION_ROUNDINGS,
) -> tuple[Float64, Float64]:
    """Return the largest absolute error of each row, unshifted and shifted, by rounding error analysis.

    Args:
        quantity: ``probabilities``, for the largest error of a row's softmax, or ``loss``, for cross-entropy with
            class indices and no other option. Other quantities have no bound.
        logits: (B, C) as the dtype holds them; ``-inf`` is ignored.
        targets: class indices (B,); the softmax ignores them.
        fmt: the dtype with the unit roundoff. An evaluation in a wider one is within the bounds.
        exact: the reference for these logits and targets.
        function_roundings: the error of exp, log and log1p in ``u``.

    Returns:
        Two arrays (B,), or (1,) for a reduced loss. NaN where the analysis does not apply:

        - a NaN or ``+inf`` logit, a row without limit, an infinite loss, overflow, or unshifted underflow;
        - an invalid target, class probabilities, or a reduced or weighted loss;
        - a softcap, logit scale or z-loss, or a format of few bits, such as float4_e2m1fn.
    """
    missing = np.full(exact.loss.hi.size if quantity == "loss" else len(logits), np.nan)
    if _is_too_coarse(fmt, function_roundings):
        return missing, missing.copy()
    # Logits near float64's largest number overflow here, and get no bound.
    with np.errstate(over="ignore", invalid="ignore"):
        if exact.transform.plain and quantity == "probabilities":
            return _softmax_bounds(_LogitRows.of(logits, fmt, exact), fmt, exact, function_roundings)
        if exact.transform.plain and quantity == "loss" and exact.loss.hi.ndim == 1 and targets.ndim == 1:
            return _loss_bounds(_LogitRows.of(logits, fmt, exact), logits, targets, fmt, exact, function_roundings)
    return missing, missing.copy()


def _is_too_coarse(fmt: Format, functions: float) -> bool:
    """Return whether a format has so few bits that the analysis fails: the errors multiply to anything, or a number
    that underflows is not small beside one rounding.
    """
    return 4 * functions * fmt.unit_roundoff >= 1 or fmt.smallest_normal >= fmt.unit_roundoff


@dataclass(frozen=True)
class _LogitRows:
    """Numbers of a batch's rows that the bounds need: arrays (B,), without meaning where ``applies`` is False."""

    applies: Mask
    classes: Float64  # n
    maximum: Float64  # a
    minimum: Float64  # of all finite logits
    drop: Float64  # D, among the terms whose shifted exponential does not underflow
    flushed: Float64  # the most that the sum may miss of the terms that underflow
    lse: Float64  # y

    @classmethod
    def of(cls, logits: NDArray[Any], fmt: Format, exact: Reference) -> Self:
        x = logits.astype(np.float64)
        finite = np.isfinite(x)
        applies = exact.defined & finite.any(axis=1) & ~(np.isnan(x) | (x == np.inf)).any(axis=1)
        x = np.where(applies[:, None] & finite, x, -np.inf)
        maximum = np.where(applies, x.max(axis=1, initial=-np.inf), 0.0)
        below = maximum[:, None] - x
        kept = below <= -np.log(fmt.smallest_normal)
        return cls(
            applies,
            classes=finite.sum(axis=1).astype(np.float64),
            maximum=maximum,
            minimum=np.where(finite, x, np.inf).min(axis=1, initial=np.inf),
            drop=np.where(kept, below, 0.0).max(axis=1, initial=0.0),
            flushed=2 * fmt.smallest_normal * (finite & ~kept).sum(axis=1),
            lse=maximum + np.log(np.maximum(np.exp(-below).sum(axis=1), 1.0)),
        )

    def basic_in_range(self, fmt: Format, slack: Float64) -> Mask:
        """Return where every unshifted exponential and the sum are normal numbers, even if off by ``exp(slack)``."""
        low, high = np.log(fmt.smallest_normal), np.log(fmt.largest)
        in_range: Mask = self.applies & (self.minimum - slack >= low) & (self.lse + slack <= high)
        return in_range

    def shifted_in_range(self, fmt: Format, slack: Float64) -> Mask:
        """Return where the sum of the shifted exponentials is finite, even if off by ``exp(slack)``.

        In float16 it is infinite for 65,520 equal logits or more.
        """
        in_range: Mask = self.applies & (self.lse - self.maximum + slack <= np.log(fmt.largest))
        if fmt.overflow is Overflow.NAN:  # the exponential of an overflowed shift is NaN, not 0
            in_range &= self.maximum - self.minimum <= fmt.largest
        return in_range


def _rigorous(roundings: Float64, fmt: Format, functions: float) -> Float64:
    """Return the error of so many first-order roundings, with the higher orders."""
    # At most four errors of functions or operations follow one another, and each is one more factor.
    u = fmt.unit_roundoff
    return roundings * u / (1 - 4 * functions * u)


def _softmax_bounds(row: _LogitRows, fmt: Format, exact: Reference, f: float) -> tuple[Float64, Float64]:
    largest = exact.probabilities.hi.max(axis=1, initial=0.0)
    # One exponential above and one below the line, n - 1 additions, a division, and the theorem's one more.
    basic = _rigorous(row.classes + 1 + 2 * f, fmt, f)
    shifted = _rigorous(row.classes + 2 * f + 2 * row.drop, fmt, f) + row.flushed
    # A component that underflows is off by less than the smallest normal number, which is less than u. It stays within
    # n u max p, since max p is at least 1 / n. No error exceeds 1, since no computed component does.
    basic_bound, shifted_bound = (np.minimum(largest * np.expm1(np.minimum(r, 100.0)), 1.0) for r in (basic, shifted))
    return (
        np.where(row.basic_in_range(fmt, basic), basic_bound, np.nan),
        np.where(row.shifted_in_range(fmt, shifted), shifted_bound, np.nan),
    )


def _loss_bounds(
    row: _LogitRows, logits: NDArray[Any], targets: NDArray[Any], fmt: Format, exact: Reference, f: float
) -> tuple[Float64, Float64]:
    n, a, y, loss = row.classes, row.maximum, row.lse, exact.loss.hi
    is_class = (targets >= 0) & (targets < logits.shape[1])
    applies = row.applies & is_class & np.isfinite(loss) & (exact.mass == 1)
    at = np.where(is_class, targets, 0).astype(np.int64)
    x_t = np.where(applies, logits[np.arange(len(logits)), at].astype(np.float64), 0.0)
    loss = np.where(applies, loss, 0.0)
    of_sum = n + f
    basic = _rigorous(f * loss + of_sum + np.maximum(1 + f, f * np.abs(y)), fmt, f)
    parts = loss + (of_sum - 1 + row.drop) + f * (y - a) + np.maximum(np.abs(y), 1 + a - x_t)
    shifted = _rigorous(parts, fmt, f) + row.flushed
    finite = np.maximum(np.abs(y), loss) + shifted <= fmt.largest
    # The target's probability is exp(-L).
    normal = row.basic_in_range(fmt, basic) & (loss + basic <= -np.log(fmt.smallest_normal))
    of_shifted_sum = _rigorous(of_sum - 1 + row.drop, fmt, f) + row.flushed
    in_range = row.shifted_in_range(fmt, of_shifted_sum) & finite
    return np.where(applies & normal, basic, np.nan), np.where(applies & in_range, shifted, np.nan)
