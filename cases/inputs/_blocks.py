"""Microscaling (MX) blocks as a change of the input: a case's logits become the numbers that an MX tensor holds.

The formats are those of the OCP Microscaling Formats specification, version 1.0. The conversion is the one that the RFC
20250911-mxfp-support of uxlfoundation/oneDNN restates from it. 32 numbers share a scale, a power of two in the format
e8m0. The scale is ``2^(floor(log2(amax)) - emax)``, with ``amax`` the largest magnitude of the block and ``emax`` the
exponent of the largest binade of the elements. Each number over the scale is rounded to the element's format, to
nearest even, and saturated. Blocks are counted along the classes; the last one of a row may be shorter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UsageError
from ...core.formats import NARROW, Format, Overflow
from ...core.rounding import round_to
from ...core.vocabulary import Problem
from .. import Case

Float64 = NDArray[np.float64]

SIZE = 32  # numbers of a block
MAX_SCALE = 127  # the exponents of e8m0 reach from -127 to 127
MARK = "@"  # between a case's own name and that of its blocks


@dataclass(frozen=True)
class Blocks:
    """The blocks of an MX format: its name, such as ``mxfp8_e4m3``, and the format of its elements."""

    name: str
    element: Format

    def why_not(self, logits: Float64) -> str | None:
        """Return the reason why blocks cannot hold the logits; None if they can."""
        if not np.isfinite(logits).all():
            return f"{self.name} blocks hold no infinity and no NaN"
        largest = float(np.abs(logits).max(initial=0.0))
        if largest >= 2.0 ** (MAX_SCALE + self.element.emax + 1):
            return f"the scale of {self.name} blocks is too small for a logit of {largest:.4g}"
        return None

    def held(self, logits: Float64) -> Float64:
        """Return finite logits (B, C) as blocks hold them."""
        rows, classes = logits.shape
        padded = np.zeros((rows, -(-classes // SIZE) * SIZE))
        padded[:, :classes] = logits
        blocks = padded.reshape(rows, -1, SIZE)
        largest = np.abs(blocks).max(axis=2, keepdims=True, initial=0.0)
        _, above = np.frexp(largest)  # one more than floor(log2)
        scale = np.clip(above.astype(np.int64) - 1 - self.element.emax, -MAX_SCALE, MAX_SCALE)
        held = np.ldexp(round_to(np.ldexp(blocks, -scale), self.element), scale)
        return np.ascontiguousarray(held.reshape(rows, -1)[:, :classes])

    def name_of(self, case_name: str) -> str:
        """Return the name of a case whose logits are held in blocks: its numbers are others than the case's own."""
        return f"{case_name}{MARK}{self.name}"

    def case(self, case: Case) -> Case:
        """Return a case of logits as blocks hold them.

        Raises:
            ValueError: with the reason, if they cannot.
        """
        if case.problem is not Problem.LOGITS:
            raise ValueError("blocks are for logits, and the case has hidden states")
        why = self.why_not(case.logits)
        if why is not None:
            raise ValueError(why)
        logits = self.held(case.logits)
        logits.flags.writeable = False
        words = f"{case.why} The logits are those of {self.name} blocks."
        return replace(case, name=self.name_of(case.name), why=words, logits=logits)


def _blocks(name: str, element: str) -> Blocks:
    return Blocks(name, replace(NARROW[element], overflow=Overflow.SATURATE, infinite=False))


BLOCKS = {
    name: _blocks(name, element)
    for name, element in (
        ("mxfp8_e4m3", "float8_e4m3fn"),
        ("mxfp8_e5m2", "float8_e5m2"),
        ("mxfp6_e3m2", "float6_e3m2fn"),
        ("mxfp6_e2m3", "float6_e2m3fn"),
        ("mxfp4_e2m1", "float4_e2m1fn"),
    )
}


def get_blocks(name: str) -> Blocks:
    """Return the blocks of this name; raise UsageError if there are none."""
    if name not in BLOCKS:
        raise UsageError(f"unknown blocks {name!r}; choose one of {', '.join(BLOCKS)}")
    return BLOCKS[name]


def split_name(case_id: str) -> tuple[str, Blocks | None]:
    """Return the case that a name with blocks is made from, and the blocks; the name itself and None for others."""
    own, _, kind = case_id.rpartition(MARK)
    return (own, BLOCKS[kind]) if own and kind in BLOCKS else (case_id, None)
