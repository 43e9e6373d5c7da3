"""Rules for lost digits: underflow before a logarithm, and rounding in a loss, a sum or a gradient."""

import numpy as np

from ...core.formats import FORMATS, Format, underflow_to_subnormal, underflow_to_zero
from ...core.rounding import ulp
from ...core.vocabulary import Formula
from .. import LOST_FROM
from ._exact import short
from ._traced import BrokenRule, ComparedStage, Fix, TracedRow


def underflow(row: TracedRow, stage: ComparedStage) -> BrokenRule | None:
    """Return the rule by which the target's exponential or probability underflowed, or None."""
    if row.formula != Formula.NAIVE or "forward" not in row.wrong or stage.symbol not in ("e", "p"):
        return None
    j, value = row.target, float(stage.values[row.target])
    relative = max(float(stage.relative[j]), _blur(float(stage.exact.hi[j])))
    # d log(p) = dp / p: a relative error here is the loss's absolute one.
    off = value == 0 or relative > min(row.tolerance, LOST_FROM)
    nothing = not stage.exact.real[j] or stage.exact.text(j) == "0"
    if not off or not np.isfinite(value) or nothing:
        return None
    if not _is_small(stage, j):
        # The format could hold it: e / s as e * (1 / s), where 1 / s is subnormal and flushed to zero.
        rule = f"{stage.text} is {short(value)} where it should be {stage.exact.text(j)}"
        return BrokenRule(rule, Fix.SHIFT) if relative >= LOST_FROM else None
    if stage.symbol == "e":
        return _exp_underflow(row, stage, j)
    fmt = stage.fmt
    fate = "is zero" if value == 0 else "is subnormal, with few digits,"
    floor = fmt.smallest_subnormal / 2 if value == 0 else fmt.smallest_normal
    return BrokenRule(f"e / s {fate} in {fmt.name} below {floor:.4g}", Fix.LOG_OF_SUM)


def _is_small(stage: ComparedStage, j: int) -> bool:
    """Return whether the exact value is below the format's normal numbers."""
    return abs(float(stage.exact.hi[j])) < stage.fmt.smallest_normal


def _blur(exact: float) -> float:
    """Return the relative error of an exact value held as float64, which is large among the subnormals."""
    half_spacing = FORMATS["float64"].smallest_subnormal / (2 * abs(exact)) if exact else np.inf
    return float(half_spacing)


def _exp_underflow(row: TracedRow, stage: ComparedStage, j: int) -> BrokenRule:
    """Return the rule for an exponential of an unshifted logit below the format's normal numbers."""
    fmt, value, x = stage.fmt, float(stage.values[j]), float(row.logits[j])
    fate = "is zero" if value == 0 else "is subnormal, with few digits,"
    gone = x < underflow_to_zero(fmt)
    if value == 0 and not gone:
        fate = "is subnormal and flushed to zero"
    limit = underflow_to_zero(fmt) if gone else underflow_to_subnormal(fmt)
    # Shifted up by the maximum the entry may be large enough; if it is far below, no shift keeps its probability.
    far = x - float(np.max(row.logits)) < underflow_to_subnormal(fmt)
    rule = f"exp({short(x)}) is {short(value)}: exp(x) {fate} in {fmt.name} below {limit:.2f}"
    return BrokenRule(rule, Fix.LOG_OF_SUM if far else Fix.SHIFT)


def lost_in_loss(row: TracedRow, stage: ComparedStage) -> BrokenRule | None:
    """Return the rule by which a stage of a wrong loss lost digits, or None."""
    # The loss only shows digits lost before it, and an exponential absorbs the rounding of a shift.
    if stage.operation not in ("log", "log1p", "+", "-") or stage.symbol in ("z", "loss") or not stage.exact.real.all():
        return None
    error, relative = float(stage.error[0]), float(stage.relative[0])
    if stage.operation in ("log", "log1p"):
        operand = stage.operands[0]
        u, near = row.fmt.unit_roundoff, float(row.symbols[operand][0])
        if relative < LOST_FROM or abs(near - 1) > 8 * u:
            return None
        lost = "log(1) is 0" if near == 1 else "its log keeps no digit"
        return BrokenRule(f"{operand} beside 1 is rounded by up to {u:.3g} in {row.fmt.name}, and {lost}", Fix.LOG1P)
    # A rounding as large as the loss itself leaves no digit of it, though it may lie within the tolerance.
    if error <= 0.5 * row.tolerance and not error >= LOST_FROM * row.loss > 0:
        return None
    spacing = float(ulp(stage.exact.hi, row.fmt, stage.exact.lo)[0])
    if stage.symbol == "a":
        return BrokenRule(f"adding the maximum back rounds to a spacing of {spacing:.4g}", Fix.SHIFT_TARGET)
    return BrokenRule(f"{stage.text} rounds to a spacing of {spacing:.4g}", Fix.WIDER)


def bad_sum(row: TracedRow, stage: ComparedStage) -> BrokenRule | None:
    """Return the rule for a sum whose error is as large as the wrong quantity's tolerance or error, or None."""
    if stage.operation != "sum" or not stage.finite.all():
        return None
    relative = float(stage.relative[0])
    # As for a probability: d log(s) = ds / s.
    off = "forward" in row.wrong and relative > row.tolerance
    # Divided by the sum, every probability and every entry of the gradient is off by as much as the sum.
    last = row.stages[-1]
    softmax = {"backward": last, "softmax": next((s for s in row.stages if s.symbol == "p"), last)}
    off |= any(q in row.wrong and relative >= LOST_FROM * _worst(s, row.fmt) for q, s in softmax.items())
    if not off or relative <= row.fmt.unit_roundoff:
        return None
    rule = f"{stage.text} is {short(stage.values[0])} where it should be {stage.exact.text(0)}"
    return BrokenRule(rule, Fix.WIDE_SUM)


def _worst(stage: ComparedStage, fmt: Format) -> float:
    """Return the largest relative error of the entries in the format's normal range."""
    counted = np.abs(stage.exact.hi) >= fmt.smallest_normal
    return float(np.where(counted, stage.relative, 0.0).max())


def lost_in_gradient(row: TracedRow, stage: ComparedStage) -> BrokenRule | None:
    """Return the rule by which the wrong entries of a gradient lost digits, or None."""
    last = row.stages[-1]
    size = np.abs(last.exact.hi)
    wrong = (last.relative >= LOST_FROM) & (size >= row.fmt.smallest_normal)
    wrong |= (size == 0) & (last.error > row.fmt.unit_roundoff)
    watched = wrong if stage.values.size == wrong.size else np.full(stage.values.size, bool(wrong.any()))
    # An entry that should be zero has no relative error.
    off = (stage.relative >= LOST_FROM) | ((stage.exact.hi == 0) & (stage.error > row.fmt.unit_roundoff))
    lost = watched & off & stage.finite & np.isfinite(stage.exact.hi)
    if not lost.any():
        return None
    j = int(np.flatnonzero(lost)[0])
    value, exact = float(stage.values[j]), stage.exact.text(j)
    if stage.operands == ("x",):
        return _exp_underflow(row, stage, j) if _is_small(stage, j) else None
    if stage.operation == "exp":
        return BrokenRule(f"exp of the rounded shift is {short(value)} where it should be {exact}", Fix.WIDER)
    if stage.operation in ("+", "-"):
        return BrokenRule(f"{stage.text} cancels to {short(value)} where it should be {exact}", Fix.OTHERS)
    if value == 0:
        rule = f"{stage.text} underflows to zero in {stage.fmt.name} where it should be {exact}"
        return BrokenRule(rule, Fix.NO_QUOTIENT)
    return BrokenRule(f"{stage.text} is {short(value)} where it should be {exact}")
