"""The largest error that each grade allows.

The symbols: ``u`` is the unit roundoff of the case's dtype and ``t`` its smallest normal number. ``n`` is the number of
finite logits of the row and ``X`` the largest of their magnitudes. ``p``, ``L`` and ``g`` are the exact probabilities,
loss and gradient. ``a`` is ``2 sqrt(n) min(u, 2^-24)``.

A, accurate: a few roundings relative to the value itself. ``8u`` are the roundings. A rounding of a shifted logit of
size ``|ln v|`` grows to ``2u |ln v|`` in its exponential. ``a`` is the sum over the classes, kept in at least float32.
It is the probabilistic bound of N. J. Higham and T. Mary, *A new approach to probabilistic rounding error analysis*,
SIAM J. Sci. Comput. 41, 2019.

B, stable: the same roundings relative to the row's larger numbers, as in a shifted log-softmax. Digits of a loss near
zero, or of a gradient entry beside a large one, may be lost.

C, offset-sensitive: B and the rounding of a sum as large as the logits, ``4 u X``, as when the maximum is added back.

A and B promise signs too: see `Standard.wrong_signs`.

The bounds are for an unreduced row. If a case reduces, a row's gradient and its bounds are multiplied by ``scale``
(``1 / B`` for a mean). `reduced_loss_bounds` are for the reduced loss. Loss and gradient are linear in the target
weights. Their sum, the row's ``mass``, is 1 without options. The terms of a bound that do not contain the value grow
with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..core.formats import FORMATS, Format
from ..core.vocabulary import A_ROUNDINGS, A_ROUNDINGS_PER_LOG, SUM_ROUNDINGS, SUM_UNIT

Float64 = NDArray[np.float64]

FLOAT32 = FORMATS["float32"]


class Bounds(NamedTuple):
    """The largest errors that A, B and C allow."""

    a: Float64
    b: Float64
    c: Float64


@dataclass(frozen=True)
class RowSizes:
    """The sizes of a batch's rows on which the bounds depend: arrays (B,), in float64.

    ``classes`` counts the finite logits, ``magnitude`` is the largest of them in absolute value, and ``mass`` is the
    sum of the target weights. ``beside`` returns what A, B and C allow in addition if the logits are transformed (see
    `_transformed`).
    """

    classes: Float64
    magnitude: Float64
    mass: Float64
    beside: Callable[[Format], Bounds] | None = None

    @classmethod
    def of(cls, logits: NDArray[Any], mass: Float64) -> Self:
        """Measure logits (B, C) of any of the four dtypes, with the target mass (B,)."""
        x = np.abs(logits.astype(np.float64))
        finite = np.isfinite(x)
        return cls(finite.sum(axis=1).astype(np.float64), np.where(finite, x, 0.0).max(axis=1, initial=0.0), mass)


def wide_unit(fmt: Format) -> float:
    """Return ``v = min(u, 2^-24)``, the unit roundoff of a value held in at least float32."""
    return min(fmt.unit_roundoff, SUM_UNIT)


def summation(classes: Float64, fmt: Format) -> Float64:
    """Return ``a = 2 sqrt(n) v``, in the shape of ``classes``."""
    return SUM_ROUNDINGS * np.sqrt(classes) * wide_unit(fmt)


def loss_bounds(loss: Float64, rows: RowSizes, fmt: Format) -> Bounds:
    """Return the largest errors of row losses (B,) for A, B and C."""
    u, t, a = fmt.unit_roundoff, fmt.smallest_normal, summation(rows.classes, fmt)
    accurate = (A_ROUNDINGS * u + A_ROUNDINGS_PER_LOG * u * np.maximum(0.0, -log(loss)) + a) * loss + t
    stable = u * 4 * loss + (8 * u + a) * rows.mass + t
    bounds = Bounds(accurate, stable, stable + 4 * u * rows.magnitude * rows.mass)
    if rows.beside is None:
        return bounds
    return Bounds(*(plain + more for plain, more in zip(bounds, rows.beside(fmt), strict=True)))


def entry_bounds(
    values: Float64, probabilities: Float64, rows: RowSizes, fmt: Format, scale: float | Float64 = 1.0
) -> Bounds:
    """Return the largest errors of the entries (B, C) of a gradient or of probabilities, for A, B and C.

    ``values`` are the exact entries multiplied by ``scale``, ``probabilities`` the unscaled softmax.
    """
    u, t = fmt.unit_roundoff, fmt.smallest_normal
    a, mass = summation(rows.classes, fmt)[:, None], rows.mass[:, None]
    size = np.abs(values) / scale
    accurate = ((A_ROUNDINGS + A_ROUNDINGS_PER_LOG * np.abs(log(size))) * u + a) * size
    relative = (8 + 2 * np.abs(log(probabilities))) * u + a
    stable = relative * probabilities * mass + (8 * u + a) * size.max(axis=1, keepdims=True, initial=0.0)
    drift = np.minimum(1.0, np.expm1(np.minimum(4 * u * rows.magnitude, 1.0)))[:, None] * mass
    return Bounds(accurate * scale + t, stable * scale + t, (2 * stable + drift) * scale + 2 * t)


def log(values: Float64) -> Float64:
    """Return the natural logarithm, 0 for 0: each use is multiplied by the value, and ``v ln v`` goes to 0."""
    positive = values > 0
    return np.where(positive, np.log(np.where(positive, values, 1.0)), 0.0)


def reduced_loss_bounds(
    row_losses: Float64, rows: RowSizes, fmt: Format, scale: float | Float64, *, rows_exposed: bool
) -> Bounds:
    """Return the largest errors of a reduced loss for A, B and C, each of shape (1,).

    Args:
        row_losses: (N,), exact, before the reduction.
        rows: the sizes of their logits.
        fmt: the case's dtype.
        scale: the factor of the sum, 1 or the 1 / N of a mean.
        rows_exposed: whether the row losses came out in the dtype before they were summed.

    ``S`` is the scaled sum of the row losses and ``v = min(u, 2^-24)``. A sum of N terms held in at least float32 may
    lose ``a_N = 2 sqrt(N) v`` of it (N. J. Higham and T. Mary, as above). A reduction errs by ``(a_N + 4v + u) S``: the
    sum, a division and its divisor, and one rounding of the result to the dtype. The rows' errors, scaled and summed,
    are added:

    A: A's bound of a row, in ``v`` if the reduction happens inside the loss. It is in ``u`` if the row losses are
    exposed, since each is rounded to the dtype.

    B: B's bound of a row, in ``v``, and a rounding of each row to the dtype, ``u S``. It is in ``u`` if the row losses
    are exposed.

    C: C's bound of a row, in ``u``, and ``u ceil(log2 N) S`` for a pairwise sum in the dtype. The latter is by N. J.
    Higham, *The accuracy of floating point summation*, SIAM J. Sci. Comput. 14, 1993, section 3. A running total in the
    dtype may lose ``N u S``: no grade above D allows it.
    """
    u, v, number = fmt.unit_roundoff, wide_unit(fmt), max(len(row_losses), 1)
    total = row_losses.sum() * scale
    reducing = (2 * np.sqrt(number) * v + 4 * v + u) * total + fmt.smallest_normal
    accurate, stable, _ = loss_bounds(row_losses, rows, fmt if rows_exposed or v == u else FLOAT32)
    offset = loss_bounds(row_losses, rows, fmt).c
    rounded = 0.0 if rows_exposed else u * total
    pairwise = u * np.ceil(np.log2(number)) * total
    a, b, c = (np.atleast_1d(each.sum() * scale + reducing) for each in (accurate, stable, offset))
    return Bounds(a, b + rounded, c + pairwise)
