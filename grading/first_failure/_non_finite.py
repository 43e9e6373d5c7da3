"""Rules that give infinities and NaN: overflow, division by zero, invalid operations of IEEE 754."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...core.formats import FORMATS, overflow, underflow_to_zero
from ...core.vocabulary import Formula
from ._exact import short
from ._traced import BrokenRule, ComparedStage, Fix, TracedRow

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]


def _not_finite(stage: ComparedStage) -> Mask:
    """Return the entries that are not finite although the real number is, or that have no exact value."""
    if stage.finite.all():
        return ~stage.finite
    harmless = np.zeros_like(stage.finite)
    if stage.symbol == "z":
        # The exponential of such a low shift is zero anyway.
        harmless = (stage.values == -np.inf) & (stage.exact.hi < 2 * underflow_to_zero(FORMATS["float64"]))
    expected = np.ones_like(stage.finite) if stage.all_real else stage.exact.real | ~stage.exact.known
    return ~stage.finite & expected & ~harmless


def non_finite(row: TracedRow, stage: ComparedStage) -> BrokenRule | None:
    """Return the rule by which entries are wrongly infinite or NaN, or None."""
    entries = _not_finite(stage)
    if not entries.any():
        return None
    size = stage.values.size
    if stage.operation == "sum":
        return _sum_rule(row, stage, row.symbols[stage.operands[0]])
    operands = [np.broadcast_to(_operand(o, row, size), size) for o in stage.operands]
    # An entry where it is born tells more than one that it has spread to, and NaN more than an infinity.
    spread = np.isnan(np.array(operands)).any(axis=0)
    order = [entries & ~spread & np.isnan(stage.values), entries & ~spread, entries]
    j = int(np.flatnonzero(next(m for m in order if m.any()))[0])
    return _ieee(row, stage, [float(o[j]) for o in operands], float(stage.values[j]))


def _operand(text: str, row: TracedRow, size: int) -> Float64:
    if text not in row.symbols:
        return np.array([2.0**64 if text == "2^64" else float(text)])
    found = row.symbols[text]
    return found if found.size in (1, size) else found[row.target : row.target + 1]


def _sum_rule(row: TracedRow, stage: ComparedStage, terms: Float64) -> BrokenRule | None:
    name = stage.operands[0]
    if np.isnan(terms).any():
        return BrokenRule(f"a sum with NaN is {short(stage.values[0])}")
    if np.isinf(terms).any():
        both = (terms == np.inf).any() and (terms == -np.inf).any()
        return BrokenRule("inf - inf is NaN" if both else f"a sum with inf is {short(stage.values[0])}")
    rule = f"the sum of {terms.size} finite {name} overflows {row.fmt.name} above {row.fmt.largest:.4g}"
    return BrokenRule(rule, _first_fix(row, stage))


def _first_fix(row: TracedRow, stage: ComparedStage) -> Fix:
    if stage.direction == "forward":
        return Fix.SHIFT if row.formula == Formula.NAIVE else Fix.WIDER
    return Fix.NO_QUOTIENT if row.formula == Formula.NAIVE else Fix.WIDER


def _ieee(row: TracedRow, stage: ComparedStage, operands: list[float], value: float) -> BrokenRule | None:
    """Return the rule of IEEE 754 that produced ``value`` at one entry; None if an operand had it already."""
    if stage.operation in ("pick", "max", "share"):
        return None
    if stage.operation in ("exp", "log", "log1p", "negate"):
        return _function_rule(row, stage, operands[0], value)
    shown = _shown(stage, operands)
    rule = f"{shown} is {short(value)}"
    if np.isnan(operands).any():
        return BrokenRule(rule)
    by_zero = stage.operation == "/" and operands[1] == 0
    if np.isfinite(operands).all() and not by_zero:
        limit = stage.fmt.largest
        return BrokenRule(f"{shown} overflows {stage.fmt.name} above {limit:.4g}", _first_fix(row, stage))
    # An infinity that came in is an earlier stage's; NaN is born here.
    return BrokenRule(rule, _first_fix(row, stage) if np.isnan(value) or by_zero else None)


def _function_rule(row: TracedRow, stage: ComparedStage, x: float, value: float) -> BrokenRule:
    name = "-" if stage.operation == "negate" else stage.operation
    rule = f"{name}({short(x)}) is {short(value)}"
    if stage.operation == "exp" and np.isfinite(x):
        limit = overflow(stage.fmt)
        return BrokenRule(f"{rule}: exp(x) overflows {stage.fmt.name} above {limit:.2f}", _first_fix(row, stage))
    return BrokenRule(rule, Fix.LOG_OF_SUM if stage.operation == "log" and x == 0 else None)


def _shown(stage: ComparedStage, operands: Sequence[float]) -> str:
    """Format the operation with its numbers: ``inf / inf``."""
    if stage.operation == "quotient":
        known = zip(stage.operands, operands, strict=True)
        return f"{stage.text} with {', '.join(f'{symbol} = {short(o)}' for symbol, o in known)}"
    first, *rest = operands
    return f" {stage.operation} ".join([short(first), *(f"({short(o)})" if o < 0 else short(o) for o in rest)])
