"""The rows of an exhaustive study: two classes, and every finite number of a format.

A format of up to 256 numbers has few enough pairs to measure all of them. A larger one is measured on its centred rows
``[h, -h]``. Their gap ``2h`` is exact, whatever ``h`` is. A loss that shifts by the row's maximum depends on the gap
alone, so that its loss and gradient are functions of one number of the format.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cases import Case
from ...core.errors import UsageError
from ...core.formats import Format
from ...core.rounding import quantize

Float64 = NDArray[np.float64]

FAMILY = "exhaustive"
MAX_PAIRED = 2**8  # numbers of a format of which all pairs are measured
MAX_NUMBERS = 2**16
# A call that fails is divided into so many parts, and the rows of the others are kept.
PARTS = 32


class Kind(StrEnum):
    """Which rows of a format are measured."""

    CENTRED = "centred"
    PAIRS = "pairs"


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows of a format, each with both targets.

    Attributes:
        fmt: the format.
        kind: centred rows, or all pairs.
        logits: (N, 2) float64.
        targets: (N,) int64.
    """

    fmt: Format
    kind: Kind
    logits: Float64
    targets: NDArray[np.int64]

    @property
    def number(self) -> int:
        return len(self.logits)

    @cached_property
    def gap(self) -> Float64:
        """(N,), the target's logit minus the other one: positive for a target that is the larger."""
        rows = np.arange(self.number)
        return self.logits[rows, self.targets] - self.logits[rows, 1 - self.targets]

    @property
    def wording(self) -> str:
        """The rows in words."""
        which = "[h, -h] of a finite number h" if self.kind is Kind.CENTRED else "[a, b] of two finite numbers"
        return f"all {self.number:,} rows {which}, with both targets"

    def cases(self) -> tuple[Case, ...]:
        """Return the rows as cases, in their order; a call of all of them is divided by case if it fails."""
        ends = np.linspace(0, self.number, min(PARTS, self.number) + 1).astype(int)
        why = f"A part of {self.wording}, in {self.fmt.name}."
        return tuple(
            Case(
                FAMILY, f"{self.fmt.name}_{start}", why, self.logits[start:end], self.targets[start:end],
                first_row=int(start), measured_in=(self.fmt.name,),
            )
            for start, end in pairwise(ends)
        )  # fmt: skip


def all_rows(fmt: Format) -> Rows:
    """Return all pairs of a format of up to `MAX_PAIRED` numbers, and the centred rows of a larger one.

    Raises:
        UsageError: for a format of more than `MAX_NUMBERS` numbers.
    """
    one = finite_numbers(fmt)
    paired = len(one) <= MAX_PAIRED
    first, second = (np.repeat(one, len(one)), np.tile(one, len(one))) if paired else (one, -one)
    logits = np.tile(np.stack([first, second], axis=1), (2, 1))
    return Rows(fmt, Kind.PAIRS if paired else Kind.CENTRED, logits, np.repeat(np.arange(2), len(first)))


def finite_numbers(fmt: Format) -> Float64:
    """Return all finite numbers of a format in rising order, with both zeros if it has them.

    Raises:
        UsageError: for a format of more than `MAX_NUMBERS` numbers.
    """
    half = 2 ** (fmt.precision - 1)
    below = half - 1 if fmt.subnormals else 0
    positive = below + (fmt.emax - fmt.emin + 1) * half - fmt.omitted
    if 2 * positive > MAX_NUMBERS:
        raise UsageError(
            f"{fmt.name} has {2 * positive:,} numbers, too many to measure each; choose a dtype of 16 bits or fewer, "
            "such as float16, bfloat16 or e4m3fn"
        )
    exponents: NDArray[Any] = np.arange(fmt.emin, fmt.emax + 1)[:, None] - (fmt.precision - 1)
    normal = np.ldexp(np.arange(half, 2.0 * half), exponents).ravel()[: positive - below]
    subnormal = np.arange(1.0, below + 1) * fmt.smallest_subnormal
    above = np.concatenate([subnormal, normal])
    # The formats named fnuz have one zero: the code of the other is NaN.
    signed = bool(np.signbit(quantize([-0.0], fmt).astype(np.float64))[0])
    return np.concatenate([-above[::-1], [-0.0, 0.0] if signed else [0.0], above])
