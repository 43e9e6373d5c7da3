"""The unit that computes: each operation on float64 arrays, rounded to a format by one arithmetic."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...core.arithmetic import Arithmetic, Order, Rounding
from ...core.formats import Format, get_format
from . import _elementary as elementary
from ._random import UInt64, random_bits
from ._rounding import Float64, Int64, round_exact
from ._sums import add_in_order

Terms = NDArray[np.float64]


class Unit:
    """An arithmetic unit for one batch.

    Arrays have the batch's rows as their first axis. The random bits of a row depend on the seed, the row's key, and
    the number and column of the operation. So a row has the same results alone and in any batch.

    Args:
        fmt: the format of the results.
        arithmetic: the settings.
        keys: (B,), the rows' keys.
    """

    def __init__(self, fmt: Format, arithmetic: Arithmetic, keys: UInt64) -> None:
        self.fmt, self.arithmetic = fmt, arithmetic
        self._keys = keys
        self._operations = 0
        self._is_exact_needed = arithmetic.rounding is not Rounding.NEAREST

    @cached_property
    def accumulator(self) -> Format:
        """The format of sums."""
        name = self.arithmetic.accumulator
        return self.fmt if name is None else get_format(name)

    def add(self, a: Float64, b: Float64, fmt: Format | None = None) -> Float64:
        """Return ``a + b``, rounded to a format; by default to that of the results, as in the other operations."""
        return self._rounded(self._sum(a, b), fmt)

    def multiply(self, a: Float64, b: Float64, fmt: Format | None = None) -> Float64:
        return self._rounded(elementary.multiply(a, b), fmt)

    def divide(self, a: Float64, b: Float64) -> Float64:
        return self._rounded(elementary.divide(a, b) if self._is_exact_needed else (np.asarray(a / b), None))

    def exp(self, x: Float64) -> Float64:
        return self._rounded(elementary.exp(x, self.fmt))

    def log(self, x: Float64) -> Float64:
        return self._rounded(elementary.log(x, self.fmt))

    def log1p(self, x: Float64) -> Float64:
        return self._rounded(elementary.log1p(x, self.fmt))

    def total(self, terms: Terms) -> Float64:
        """Return the sums (B,) of terms (B, N), added in the accumulator in the arithmetic's order, and rounded."""
        return self.narrowed(self.accumulated(terms))

    def narrowed(self, sums: Float64) -> Float64:
        """Return numbers of the accumulator, rounded to the format of the results."""
        return sums if self.accumulator == self.fmt else self._rounded((sums, None))

    def accumulated(self, terms: Terms) -> Float64:
        """Return the sums (B,) as numbers of the accumulator."""
        if terms.shape[1] == 0:
            return np.zeros(len(terms))
        held = terms if self.accumulator == self.fmt else self._rounded((terms, None), self.accumulator)
        if self.arithmetic.order is Order.PAIRWISE:
            return self._pairwise(held)
        if self.arithmetic.order is Order.BLOCKED:
            return self._sequential(self._in_blocks(held))
        return self._sequential(held)

    def of_one_row(self) -> "Unit":
        """Return a unit for one row that holds results of all rows."""
        return Unit(self.fmt, self.arithmetic, self._keys[:1])

    def _sequential(self, terms: Terms) -> Float64:
        """Add terms (..., N) from the first to the last."""
        if self._is_exact_needed:
            return self._added_by_steps(terms)
        flat = terms.reshape(-1, terms.shape[-1])
        sums, left = add_in_order(flat, self.accumulator)
        if left.any():
            sums[left] = self._added_by_steps(flat[left])
        return sums.reshape(terms.shape[:-1])

    def _added_by_steps(self, terms: Terms) -> Float64:
        # All random bits at once: the generator has a cost for each call.
        random = self._random(terms.shape)
        found = terms[..., 0]
        for i in range(1, terms.shape[-1]):
            drawn = None if random is None else random[..., i]
            found = self._rounded_by(self._sum(found, terms[..., i]), self.accumulator, drawn)
        return found

    def _pairwise(self, terms: Terms) -> Float64:
        """Add neighbours, then neighbouring sums; at each step a last one without a neighbour is left over."""
        while terms.shape[1] > 1:
            pairs = terms.shape[1] // 2 * 2
            added = self.add(terms[:, 0:pairs:2], terms[:, 1:pairs:2], self.accumulator)
            terms = np.concatenate([added, terms[:, pairs:]], axis=1)
        return terms[:, 0]

    def _in_blocks(self, terms: Terms) -> Terms:
        """Return the sums (B, blocks) of blocks of `Arithmetic.tile` terms; zeros that fill the last change nothing."""
        tile = min(self.arithmetic.tile, terms.shape[1])
        filler = -terms.shape[1] % tile
        filled = np.concatenate([terms, np.zeros((len(terms), filler))], axis=1)
        return self._sequential(filled.reshape(len(terms), -1, tile))

    def _sum(self, a: Float64, b: Float64) -> elementary.Exact:
        return elementary.add(a, b) if self._is_exact_needed else (a + b, None)

    def _rounded(self, exact: elementary.Exact, fmt: Format | None = None) -> Float64:
        return self._rounded_by(exact, fmt or self.fmt, self._random(exact[0].shape))

    def _rounded_by(self, exact: elementary.Exact, fmt: Format, random: Int64 | None) -> Float64:
        if fmt.name == "float64":
            return exact[0]
        a = self.arithmetic
        return round_exact(exact[0], fmt, a.rounding, exact[1], random, a.random_bits)

    def _random(self, shape: tuple[int, ...]) -> Int64 | None:
        """Return the random bits of the next operation, whose result has a shape (B, ...); None if it needs none."""
        if self.arithmetic.rounding is not Rounding.STOCHASTIC:
            return None
        self._operations += 1
        width = int(np.prod(shape[1:], dtype=np.int64))
        a = self.arithmetic
        return random_bits(self._keys, width, self._operations, a.seed, a.random_bits).reshape(shape)
