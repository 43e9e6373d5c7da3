"""Arrays whose operators round: the formulas of `stages` run on them as on arrays of NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..stages import Operations
from ._rounding import Float64
from ._unit import Unit

Operand = Any  # an array of this class, or exact numbers: an array of NumPy or a number of Python


class Rounded:
    """An array (B, ...) of numbers of a format, held in float64; each operation rounds once.

    Attributes:
        values: the numbers.
        unit: the arithmetic.
    """

    # So that an array of NumPy leaves operators with this class to it.
    __array_ufunc__ = None

    def __init__(self, values: Float64, unit: Unit) -> None:
        self.values, self.unit = values, unit

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __add__(self, other: Operand) -> Rounded:
        return self._by(self.unit.add, self, other)

    def __radd__(self, other: Operand) -> Rounded:
        return self._by(self.unit.add, other, self)

    def __sub__(self, other: Operand) -> Rounded:
        return self._by(self.unit.add, self, -_values(other))

    def __rsub__(self, other: Operand) -> Rounded:
        return self._by(self.unit.add, other, -self)

    def __mul__(self, other: Operand) -> Rounded:
        return self._by(self.unit.multiply, self, other)

    def __rmul__(self, other: Operand) -> Rounded:
        return self._by(self.unit.multiply, other, self)

    def __truediv__(self, other: Operand) -> Rounded:
        return self._by(self.unit.divide, self, other)

    def __rtruediv__(self, other: Operand) -> Rounded:
        return self._by(self.unit.divide, other, self)

    def __neg__(self) -> Rounded:
        return Rounded(-self.values, self.unit)

    def __eq__(self, other: object) -> Any:
        return self.values == _values(other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Any) -> Rounded:
        return Rounded(self.values[index], self.unit)

    def max(self, axis: int, keepdims: bool) -> Rounded:
        return Rounded(self.values.max(axis=axis, keepdims=keepdims), self.unit)

    def argmax(self, axis: int) -> NDArray[np.intp]:
        return self.values.argmax(axis=axis)

    def sum(self, axis: int, keepdims: bool) -> Rounded:
        """Return the sums over the classes, (B, C) to (B, 1)."""
        found = self.unit.total(self.values)
        return Rounded(found[:, None] if keepdims else found, self.unit)

    def _by(self, operation: Callable[[Float64, Float64], Float64], a: Operand, b: Operand) -> Rounded:
        both = np.broadcast_arrays(_values(a), _values(b))
        return Rounded(operation(*both), self.unit)


def _values(operand: Operand) -> Float64:
    return operand.values if isinstance(operand, Rounded) else np.asarray(operand, np.float64)


def _exp(x: Rounded) -> Rounded:
    return Rounded(x.unit.exp(x.values), x.unit)


def _log(x: Rounded) -> Rounded:
    return Rounded(x.unit.log(x.values), x.unit)


def _log1p(x: Rounded) -> Rounded:
    return Rounded(x.unit.log1p(x.values), x.unit)


def _where(condition: NDArray[np.bool_], a: Rounded, b: Rounded) -> Rounded:
    return Rounded(np.where(condition, a.values, b.values), a.unit)


def _pick(x: Rounded, classes: NDArray[np.integer[Any]]) -> Rounded:
    return Rounded(np.take_along_axis(x.values, classes[:, None], axis=1)[:, 0], x.unit)


def _onehot(classes: NDArray[np.integer[Any]], like: Rounded) -> Rounded:
    return Rounded((np.arange(like.shape[1]) == classes[:, None]).astype(np.float64), like.unit)


def _share(slope: Rounded, x: Rounded, m: Rounded) -> Rounded:
    at_max = Rounded((x == m).astype(np.float64), x.unit)
    return slope * (at_max / at_max.sum(axis=1, keepdims=True))


# The order of the operations is NumPy's, so that results in a format of NumPy can be equal bit for bit.
OPERATIONS = Operations(
    exp=_exp,
    log=_log,
    log1p=_log1p,
    where=_where,
    zeros_like=lambda x: Rounded(np.zeros(x.shape), x.unit),
    pick=_pick,
    onehot=_onehot,
    at_least_float32=lambda x: x,
    cast=lambda x, like: x,
    quotient_slope=lambda d, e, s, p: -d * p / s,
    quotient_text="-dp * p / s",
    share=_share,
    add_slopes=lambda shift, at_max, target: shift + at_max - target,
)
