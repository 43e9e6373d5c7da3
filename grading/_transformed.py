"""The errors that the grades allow if the loss is of ``x``, computed from the logits ``z``, or has a z-loss.

The bounds of `_bounds` are for a loss of given numbers. A computed ``x`` is rounded, so that the loss is that of
neighbours ``x_j + d_j``. With ``v = min(u, 2^-24)``

    |d_j| <= D_j = k v |x_j|,   k = 0  no cap, and a power of two as logit scale
                                k = 2  another scale: the product, and the scale or a temperature
                                k = 9  a cap: in r = s z / c two roundings and one of s, in tanh five, in c tanh(r) one;
                                       an error of r moves x by no more relative to x, since r sech^2 r <= tanh r.

So A and B require ``x`` in at least float32. C allows each step to be rounded to the dtype, with ``u`` for ``v``.
Only tanh rounds once in ``u`` and errs by four ``v`` in addition.

The effect of ``d`` follows from the mean value theorem. Anywhere between ``x`` and ``x + d`` a probability is at most
``P_j = min(1, exp(log p_j + D_j + sum_k p_k D_k))`` (by Jensen's inequality), and so

    |change of p_j| <= M_j = min(P_j, P_j ((1 - p_j)' D_j + sum_{k != j} P_k D_k))
    |change of L|   <= sum_j (|g_j| + Q M_j) D_j
    |change of y|   <= sum_j P_j D_j

with ``g`` the derivative of the cross-entropy by ``x``, ``Q`` the row's mass, ``y = logsumexp(x)``, and ``(1 - p_j)'``
the sum of the other ``P_k`` at the largest probability, 1 elsewhere.

A z-loss ``c y^2`` errs by ``c (2 |y| e + e^2 + 4 u y^2)``. Here ``e`` is the error of ``y = m + log T``. It is the
change of ``y``, and ``2 u |y| + 4 v (1 + log T) + a`` for A, ``4 u (1 + |y| + log T) + a`` for B, ``4 u X`` more for C.
The z-loss adds ``h_j = 2 c y p_j`` to the derivative. This term errs by B's bound of a probability, and by
``2 c (e p_j + (|y| + e) M_j)``. A probability computed from the rounded ``y``, as ``exp(x_j - y)``, has a relative
error of ``u |y|``. If ``c y`` is not small, that is C.

The gradient is ``(g_j + h_j) w_j`` with ``w_j = dx_j / dz_j``. Its error is that of ``g_j + h_j`` times ``w_j``, and
``g_j + h_j`` times the error of ``w_j``, and ``4 u`` of it for the roundings of products. Without a cap ``w_j`` is the
scale itself. Under a cap it is ``s sech^2 r``. A allows a relative error of ``w_j`` of ``(8 + 8 |r|) v``, which an
error of ``3 v`` in ``r`` causes. The usual ``s (1 - tanh^2 r)`` loses digits where tanh is near 1: B allows ``8 v s``
in addition, C ``8 u s``.

If the logits are computed too (see `_linear`), ``D_j`` also has the error of ``z_j``, times the largest slope between
``z_j`` and its neighbour. The error of ``w_j`` has the change of the slope.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format
from ..core.vocabulary import Grade
from ..oracle import Reference
from ..oracle.transform import Transform
from ._bounds import Bounds, RowSizes, entry_bounds, log, summation, wide_unit

Float64 = NDArray[np.float64]

_BOUNDED = (Grade.A, Grade.B, Grade.C)
OF_SCALE, OF_CAP, OF_TANH = 2, 5, 4  # k, tanh's own apart


@dataclass(frozen=True, eq=False)
class _SoftmaxRows:
    """The softmax of ``x``: arrays (B, 1), and (B, C) for ``log_p`` and ``is_top``, the largest probability."""

    classes: Float64
    magnitude: Float64
    log_total: Float64
    y: Float64
    log_p: Float64
    is_top: NDArray[np.bool_]

    @classmethod
    def of(cls, x: Float64) -> Self:
        sizes = RowSizes.of(x, np.ones(len(x)))
        held = np.where(np.isfinite(x), x, -np.inf)
        m = held.max(axis=1, keepdims=True, initial=-np.inf)
        m = np.where(np.isfinite(m), m, 0.0)
        below = held - m
        log_total = np.log(np.maximum(np.exp(below).sum(axis=1, keepdims=True), 1.0))
        is_top = np.zeros(x.shape, bool)
        is_top[np.arange(len(x)), held.argmax(axis=1)] = True
        return cls(
            sizes.classes[:, None], sizes.magnitude[:, None], log_total, m + log_total, below - log_total, is_top
        )


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """``D`` and ``M`` (B, C), and ``e`` (B, 1)."""

    d: Float64
    of_p: Float64
    of_y: Float64


@dataclass(frozen=True, eq=False)
class Transformed:
    """A batch whose loss is of ``x``: arrays (B, C), and (B, 1) for rows, in float64."""

    transform: Transform
    x: Float64
    slopes: Float64
    ratio: Float64  # |r|
    inner: Float64  # g
    probabilities: Float64
    mass: Float64
    given: Bounds | None = None

    @classmethod
    def of(cls, logits: NDArray[Any], exact: Reference) -> Self | None:
        """Return the transformed batch of logits (B, C); None if the loss is of the logits themselves."""
        return None if exact.transform.plain else cls.with_errors(logits, exact, None)

    @classmethod
    def with_errors(cls, logits: NDArray[Any], exact: Reference, given: Bounds | None) -> Self:
        """Return the batch of logits (B, C) that are computed with errors (B, C) that A, B and C allow."""
        t, z = exact.transform, logits.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            inner = exact.inner if exact.inner is not None else exact.gradient.hi / exact.scale
            ratio = np.zeros(z.shape) if t.softcap is None else np.abs(t.logit_scale * z / t.softcap)
            p, mass = exact.probabilities.hi, exact.mass[:, None]
            return cls(t, t.logits(z), t.slopes(z), ratio, inner, p, mass, given)

    def loss_allowances(self, fmt: Format) -> Bounds:
        """Return the errors of row losses (B,) that A, B and C allow in addition to a plain loss's bounds."""
        return Bounds(*(self._of_loss(self._neighbours(grade, fmt), fmt) for grade in _BOUNDED))

    def gradient_bounds(self, fmt: Format, scale: float | Float64) -> Bounds:
        """Return the largest errors of the entries (B, C) of a gradient for A, B and C."""
        u, t, v, s = fmt.unit_roundoff, fmt.smallest_normal, wide_unit(fmt), self.transform.logit_scale
        capped = self.transform.softcap is not None
        size = np.abs(self.inner + self._pull)
        w = self.slopes
        of_slope = (8 + 8 * self.ratio) * v * w * capped
        lossy = 8 * s * capped
        roundings = 4 * u * size * w
        a, b, c = (self._of_derivative(self._neighbours(grade, fmt), grade, fmt) for grade in _BOUNDED)
        of_a, of_b, of_c = (size * self._moved_slope(grade) for grade in _BOUNDED)
        return Bounds(
            scale * (a * w + size * of_slope + roundings + of_a) + t,
            scale * (b * w + size * (of_slope + v * lossy) + roundings + of_b) + t,
            scale * (c * w + 2 * size * (of_slope + u * lossy) + roundings + of_c) + 2 * t,
        )

    def probability_bounds(self, fmt: Format) -> Bounds:
        """Largest errors of the probabilities (B, C) for A, B and C."""
        p = self.probabilities
        plain = entry_bounds(p, p, RowSizes.of(self.x, np.ones(len(p))), fmt)
        moved = (self._neighbours(grade, fmt).of_p for grade in _BOUNDED)
        return Bounds(*(bound + more for bound, more in zip(plain, moved, strict=True)))

    def _moved_slope(self, grade: Grade) -> Float64 | float:
        """Return the change of ``w`` by the error of a computed logit: ``w' = 2 tanh r / c`` times ``w`` at most."""
        cap = self.transform.softcap
        if self.given is None or cap is None:
            return 0.0
        moved = self.given[_BOUNDED.index(grade)]
        return 2 * self.transform.logit_scale / cap * moved * self._largest_slope(moved)

    def _largest_slope(self, moved: Float64) -> Float64:
        """Return the largest ``w`` between ``z`` and logits as far away as ``moved``: it falls with the magnitude."""
        if self.transform.softcap is None:
            return self.slopes
        near = np.maximum(self.ratio * self.transform.softcap / self.transform.logit_scale - moved, 0.0)
        return self.transform.slopes(near)

    @cached_property
    def _row(self) -> _SoftmaxRows:
        return _SoftmaxRows.of(self.x)

    @property
    def _pull(self) -> Float64:
        """Return ``h``, the z-loss's part of the derivative."""
        return 2 * self.transform.z_loss * self._row.y * self.probabilities

    def _neighbours(self, grade: Grade, fmt: Format) -> _Neighbours:
        u, v, row = fmt.unit_roundoff, wide_unit(fmt), self._row
        rounding = _rounding(self.transform, u if grade is Grade.C else v, v)
        d = rounding * np.where(np.isfinite(self.x), np.abs(self.x), 0.0)
        if self.given is not None:
            moved = self.given[_BOUNDED.index(grade)]
            d = d + np.where(np.isfinite(self.x), moved * self._largest_slope(moved), 0.0)
        most = np.exp(np.minimum(row.log_p + d + (self.probabilities * d).sum(axis=1, keepdims=True), 0.0))
        of_y = (most * d).sum(axis=1, keepdims=True)
        others = np.where(row.is_top, 0.0, most)
        of_others = (others * d).sum(axis=1, keepdims=True)
        others = np.minimum(others.sum(axis=1, keepdims=True), 1.0)
        of_p = most * (np.where(row.is_top, others, 1.0) * d + np.where(row.is_top, of_others, of_y))
        y = np.abs(row.y)
        if grade is Grade.A:
            e = 2 * u * y + 4 * v * (1 + row.log_total)
        else:
            e = 4 * u * (1 + y + row.log_total) + 4 * u * row.magnitude * (grade is Grade.C)
        return _Neighbours(d, np.minimum(of_p, most), e + summation(row.classes, fmt) + of_y)

    def _of_loss(self, near: _Neighbours, fmt: Format) -> Float64:
        y = np.abs(self._row.y)
        squared = 2 * y * near.of_y + near.of_y**2 + 4 * fmt.unit_roundoff * y**2
        moved = ((np.abs(self.inner) + self.mass * near.of_p) * near.d).sum(axis=1, keepdims=True)
        # An ignored row of NaN must not spoil the bound of a reduced loss.
        allowed: Float64 = np.nan_to_num((moved + self.transform.z_loss * squared)[:, 0], nan=0.0, posinf=np.inf)
        return allowed

    def _of_derivative(self, near: _Neighbours, grade: Grade, fmt: Format) -> Float64:
        """Return the largest error of ``g + h``, (B, C)."""
        size, pull, p, row = np.abs(self.inner), np.abs(self._pull), self.probabilities, self._row
        u, a, c = fmt.unit_roundoff, summation(row.classes, fmt), self.transform.z_loss
        relative = (8 + 2 * np.abs(log(p))) * u + a
        by_z = pull * relative + 2 * c * (near.of_y * p + (np.abs(row.y) + near.of_y) * near.of_p)
        moved = self.mass * near.of_p + by_z
        if grade is Grade.A:
            accurate: Float64 = ((8 + 2 * np.abs(log(size))) * u + a) * size + moved
            return accurate
        largest = np.maximum(size, pull).max(axis=1, keepdims=True, initial=0.0)
        stable: Float64 = relative * p * self.mass + (8 * u + a) * largest + moved
        if grade is Grade.B:
            return stable
        drift = np.minimum(1.0, np.expm1(np.minimum(4 * u * row.magnitude, 1.0)))
        return 2 * stable + drift * (self.mass + 2 * c * np.abs(row.y))


def _rounding(transform: Transform, step: float, inside: float) -> float:
    """Return ``D`` relative to ``x``, if steps round to ``step`` and tanh is evaluated to ``inside``."""
    if transform.softcap is not None:
        return OF_CAP * step + OF_TANH * inside
    return 0.0 if math.frexp(transform.logit_scale)[0] == 0.5 else OF_SCALE * step
