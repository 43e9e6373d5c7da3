"""Which rule of the format a stage broke, and what would mend it.

A stage is looked at only where the row's loss or gradient came out wrong: an exponential that underflows in a sum, or
a shift of minus infinity whose exponential is rightly zero, does no harm and is no failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import grading
from ..cases._thresholds import overflow, underflow_to_subnormal, underflow_to_zero
from ..formats import FORMATS, Format, ulp
from ..grading import LOST_FROM
from ._exact import ExactValues, short

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHIFT = "subtract the row maximum first"
LOG_OF_SUM = "take the logarithm of the sum instead of the probability"
LOG1P = "take the maximum's own term out of the sum: log1p(sum of the others)"
SHIFT_TARGET = "subtract the target logit from the maximum before adding: log(s) + (m - x[target])"
NO_QUOTIENT = "write the gradient as softmax minus one-hot instead of differentiating the quotient"
OTHERS = "at the target take minus the share of the others instead of p - 1"
WIDER = "compute in a wider dtype"
WIDE_SUM = "hold the sum in float32 or wider"


@dataclass(frozen=True)
class Broken:
    """``rule``: what the format did; ``mend``: what would have avoided it, None where an earlier stage is to blame."""

    rule: str
    mend: str | None


@dataclass(frozen=True, eq=False)
class Judged:
    """One stage of one row: computed values (E,) as float64, what they are, and the exact ones."""

    direction: str
    name: str
    symbol: str
    text: str
    operation: str
    operands: tuple[str, ...]
    values: Float64
    dtype: str
    exact: ExactValues

    @property
    def finite(self) -> Mask:
        finite: Mask = np.isfinite(self.values)
        return finite

    @property
    def error(self) -> Float64:
        """Absolute; infinite where the value is not of the exact value's kind, NaN where there is no exact value."""
        hi, lo, v = self.exact.hi, self.exact.lo, self.values
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where(np.isfinite(v) & np.isfinite(hi), np.abs((v - hi) - lo), np.inf)
            same = ~self.exact.real & ((v == hi) | (np.isnan(v) & np.isnan(hi)))
            return np.where(self.exact.known, np.where(same, 0.0, apart), np.nan)

    @property
    def relative(self) -> Float64:
        """The error relative to the exact value; 0 where that is zero or not a number of float64."""
        size = np.abs(self.exact.hi)
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where((size > 0) & np.isfinite(size), self.error / np.where(size > 0, size, 1.0), 0.0)

    def max_ulp(self, fmt: Format) -> float:
        """The largest error in spacings of the format; NaN where there is no exact value."""
        with np.errstate(invalid="ignore", over="ignore"):
            spacing = np.where(np.isfinite(self.exact.hi), ulp(self.exact.hi, fmt, self.exact.lo), 1.0)
            errors: list[float] = (self.error / spacing)[self.exact.known].tolist()
        return max(errors, default=float("nan"))


@dataclass(frozen=True, eq=False)
class Row:
    """What the rules need to know of the row. Verdicts are those of `grading`, ``correct`` for no failure."""

    formula: str
    target: int
    logits: Float64
    fmt: Format
    loss: float
    loss_verdict: str
    gradient_verdict: str

    @property
    def tolerance(self) -> float:
        """Grade B's bound for the loss, that of a row of one target."""
        size = self.loss if np.isfinite(self.loss) else 0.0
        row = grading.Row.of(self.logits.reshape(1, -1), np.ones(1))
        _, stable, _ = grading.loss_bounds(np.array([size]), row, self.fmt)
        return float(stable[0])


def broken(row: Row, stages: Sequence[Judged]) -> list[Broken | None]:
    """What broke at each stage of a written formula, None where nothing did."""
    wrong = {"forward": row.loss_verdict != "correct", "backward": row.gradient_verdict != "correct"}
    if not any(wrong.values()) or "undefined" in (row.loss_verdict, row.gradient_verdict):
        return [None] * len(stages)
    values = {"x": row.logits} | {s.symbol: s.values for s in stages}
    found = [_broken(row, s, stages, values, wrong) for s in stages]
    for direction, verdict in (("forward", row.loss_verdict), ("backward", row.gradient_verdict)):
        told = any(b is not None for b, s in zip(found, stages, strict=True) if s.direction in ("forward", direction))
        if wrong[direction] and not told:
            last = max(i for i, s in enumerate(stages) if s.direction == direction)
            found[last] = _outcome(stages[last], verdict, row.fmt)
    return found


def outcome(stage: Judged, verdict: str, fmt: Format) -> Broken | None:
    """What is wrong with a quantity of a built-in, whose inside is not seen."""
    return None if verdict in ("correct", "undefined") else _outcome(stage, verdict, fmt)


def _outcome(stage: Judged, verdict: str, fmt: Format) -> Broken:
    j = int(np.nan_to_num(stage.error, nan=np.inf, posinf=np.inf).argmax())
    got, exact = short(stage.values[j]), stage.exact.texts[j]
    told = {
        "swallowed": f"{got} where the exact value is {exact}",
        "inaccurate": f"the error has grown to {stage.max_ulp(fmt):.3g} ulp",
        "lost": f"{got} has no digit of the exact value {exact}",
    }
    return Broken(told.get(verdict, f"{got} where the exact value is {exact}"), None)


def _broken(
    row: Row, stage: Judged, stages: Sequence[Judged], values: Mapping[str, Float64], wrong: Mapping[str, bool]
) -> Broken | None:
    found = []
    entries = _not_finite(stage)
    if entries.any():
        found.append(_non_finite_rule(row, stage, entries, values))
    if wrong["forward"] and row.formula == "naive":
        found.append(_underflow(row, stage))
    if not any(found):
        if stage.direction == "forward" and wrong["forward"]:
            found.append(_bad_sum(row, stage) or _forward_loss(row, stage, values))
        if wrong["backward"]:
            found.append(_gradient_loss(row, stage, stages))
    told = [b for b in found if b is not None]
    if not told:
        return None
    mends = dict.fromkeys(b.mend for b in told if b.mend is not None)
    return Broken("; ".join(b.rule for b in told), "; ".join(mends) or None)


# --- infinities and NaN -----------------------------------------------------------------------------------------


def _not_finite(stage: Judged) -> Mask:
    """Entries that are not finite though the real number is, or that have no exact value."""
    harmless = np.zeros_like(stage.finite)
    if stage.symbol == "z":
        # The exponential of so low a shift is zero all the same.
        harmless = (stage.values == -np.inf) & (stage.exact.hi < 2 * underflow_to_zero(FORMATS["float64"]))
    return ~stage.finite & (stage.exact.real | ~stage.exact.known) & ~harmless


def _non_finite_rule(row: Row, stage: Judged, entries: Mask, values: Mapping[str, Float64]) -> Broken | None:
    size = stage.values.size
    if stage.operation == "sum":
        return _sum_rule(row, stage, values[stage.operands[0]])
    operands = [np.broadcast_to(_operand(o, values, row, size), size) for o in stage.operands]
    # An entry where it is born tells more than one that it has spread to, and NaN more than an infinity.
    spread = np.isnan(np.array(operands)).any(axis=0)
    order = [entries & ~spread & np.isnan(stage.values), entries & ~spread, entries]
    j = int(np.flatnonzero(next(m for m in order if m.any()))[0])
    return _ieee(row, stage, [float(o[j]) for o in operands], float(stage.values[j]))


def _operand(word: str, values: Mapping[str, Float64], row: Row, size: int) -> Float64:
    if word not in values:
        return np.array([2.0**64 if word == "2^64" else float(word)])
    found = values[word]
    return found if found.size in (1, size) else found[row.target : row.target + 1]


def _sum_rule(row: Row, stage: Judged, terms: Float64) -> Broken | None:
    name = stage.operands[0]
    if np.isnan(terms).any():
        return Broken(f"a sum with NaN is {short(stage.values[0])}", None)
    if np.isinf(terms).any():
        both = (terms == np.inf).any() and (terms == -np.inf).any()
        return Broken("inf - inf is NaN" if both else f"a sum with inf is {short(stage.values[0])}", None)
    rule = f"the sum of {terms.size} finite {name} overflows {row.fmt.name} above {row.fmt.largest:.4g}"
    return Broken(rule, _first_mend(row, stage))


def _first_mend(row: Row, stage: Judged) -> str:
    if stage.direction == "forward":
        return SHIFT if row.formula == "naive" else WIDER
    return NO_QUOTIENT if row.formula == "naive" else WIDER


def _ieee(row: Row, stage: Judged, operands: list[float], value: float) -> Broken | None:
    """The rule of IEEE 754 that made ``value`` of the operands at one entry; None for one that only passes it on."""
    if stage.operation in ("pick", "max", "share"):
        return None
    if stage.operation in ("exp", "log", "log1p", "negate"):
        return _function_rule(row, stage, operands[0], value)
    told = f"{_shown(stage, operands)} is {short(value)}"
    if np.isnan(operands).any():
        return Broken(told, None)
    by_zero = stage.operation == "/" and operands[1] == 0
    if np.isfinite(operands).all() and not by_zero:
        limit = FORMATS[stage.dtype].largest
        return Broken(f"{_shown(stage, operands)} overflows {stage.dtype} above {limit:.4g}", _first_mend(row, stage))
    # An infinity that came in is an earlier stage's; NaN is born here.
    return Broken(told, _first_mend(row, stage) if np.isnan(value) or by_zero else None)


def _function_rule(row: Row, stage: Judged, x: float, value: float) -> Broken:
    name = "-" if stage.operation == "negate" else stage.operation
    told = f"{name}({short(x)}) is {short(value)}"
    if stage.operation == "exp" and np.isfinite(x):
        limit = overflow(FORMATS[stage.dtype])
        return Broken(f"{told}: exp(x) overflows {stage.dtype} above {limit:.2f}", _first_mend(row, stage))
    return Broken(told, LOG_OF_SUM if stage.operation == "log" and x == 0 else None)


def _shown(stage: Judged, operands: Sequence[float]) -> str:
    """The operation with the numbers in it: ``inf / inf``."""
    if stage.operation == "quotient":
        known = zip(stage.operands, operands, strict=True)
        return f"{stage.text} with {', '.join(f'{symbol} = {short(o)}' for symbol, o in known)}"
    first, *rest = operands
    return f" {stage.operation} ".join([short(first), *(f"({short(o)})" if o < 0 else short(o) for o in rest)])


# --- underflow of what a logarithm is taken of ------------------------------------------------------------------


def _underflow(row: Row, stage: Judged) -> Broken | None:
    if stage.symbol not in ("e", "p") or stage.direction != "forward":
        return None
    j, fmt = row.target, FORMATS[stage.dtype]
    value = float(stage.values[j])
    # d log(p) = dp / p: a relative error here is the loss's absolute one.
    small = abs(float(stage.exact.hi[j])) < fmt.smallest_normal
    off = value == 0 or stage.relative[j] > min(row.tolerance, LOST_FROM)
    nothing = not stage.exact.real[j] or stage.exact.texts[j] == "0"
    if not off or not np.isfinite(value) or nothing:
        return None
    if not small:
        # The format could hold it: e / s as e * (1 / s), where 1 / s is subnormal and flushed to zero.
        told = f"{stage.text} is {short(value)} where it should be {stage.exact.texts[j]}"
        return Broken(told, SHIFT) if stage.relative[j] >= LOST_FROM else None
    fate = "is zero" if value == 0 else "is subnormal, with few digits,"
    if stage.symbol == "p":
        floor = fmt.smallest_subnormal / 2 if value == 0 else fmt.smallest_normal
        return Broken(f"e / s {fate} in {fmt.name} below {floor:.4g}", LOG_OF_SUM)
    x = float(row.logits[j])
    gone = x < underflow_to_zero(fmt)
    if value == 0 and not gone:
        fate = "is subnormal and flushed to zero"
    limit = underflow_to_zero(fmt) if gone else underflow_to_subnormal(fmt)
    # Shifted up by the maximum the target may be large enough; if it is far below, no shift keeps its probability.
    far = x - float(np.max(row.logits)) < underflow_to_subnormal(fmt)
    rule = f"exp({short(x)}) is {short(value)}: exp(x) {fate} in {fmt.name} below {limit:.2f}"
    return Broken(rule, LOG_OF_SUM if far else SHIFT)


# --- digits -----------------------------------------------------------------------------------------------------


def _forward_loss(row: Row, stage: Judged, values: Mapping[str, Float64]) -> Broken | None:
    """Digits lost on the way to a wrong loss."""
    # The loss itself only shows what was lost before it, and a shift's rounding is absorbed by its exponential.
    if stage.operation not in ("log", "log1p", "+", "-") or stage.symbol in ("z", "loss") or not stage.exact.real.all():
        return None
    error, relative = float(stage.error[0]), float(stage.relative[0])
    if stage.operation in ("log", "log1p"):
        operand = stage.operands[0]
        u, near = row.fmt.unit_roundoff, float(values[operand][0])
        if relative < LOST_FROM or abs(near - 1) > 8 * u:
            return None
        lost = "log(1) is 0" if near == 1 else "its log keeps no digit"
        return Broken(f"{operand} beside 1 is rounded by up to {u:.3g} in {row.fmt.name}, and {lost}", LOG1P)
    # A rounding as large as the loss itself leaves no digit of it, though it may lie within the tolerance.
    if error <= 0.5 * row.tolerance and not error >= LOST_FROM * row.loss > 0:
        return None
    spacing = float(ulp(stage.exact.hi, row.fmt, stage.exact.lo)[0])
    if stage.symbol == "a":
        return Broken(f"adding the maximum back rounds to a spacing of {spacing:.4g}", SHIFT_TARGET)
    return Broken(f"{stage.text} rounds to a spacing of {spacing:.4g}", WIDER)


def _bad_sum(row: Row, stage: Judged) -> Broken | None:
    # As for a probability: d log(s) = ds / s.
    if stage.operation != "sum" or not stage.finite.all() or stage.relative[0] <= row.tolerance:
        return None
    told = f"{stage.text} is {short(stage.values[0])} where it should be {stage.exact.texts[0]}"
    return Broken(told, WIDE_SUM)


def _gradient_loss(row: Row, stage: Judged, stages: Sequence[Judged]) -> Broken | None:
    """Digits lost on the way to a wrong gradient, in the entries that are wrong."""
    last = stages[-1]
    size = np.abs(last.exact.hi)
    wrong = (last.relative >= LOST_FROM) & (size >= row.fmt.smallest_normal)
    wrong |= (size == 0) & (last.error > row.fmt.unit_roundoff)
    watched = wrong if stage.values.size == wrong.size else np.full(stage.values.size, bool(wrong.any()))
    lost = watched & (stage.relative >= LOST_FROM) & stage.finite & np.isfinite(stage.exact.hi)
    if not lost.any() or (stage.direction == "forward" and stage.operands != ("z",)):
        return None
    j = int(np.flatnonzero(lost)[0])
    value, exact = float(stage.values[j]), stage.exact.texts[j]
    if stage.operation == "exp":
        return Broken(f"exp of the rounded shift is {short(value)} where it should be {exact}", WIDER)
    if stage.operation in ("+", "-"):
        return Broken(f"{stage.text} cancels to {short(value)} where it should be {exact}", OTHERS)
    if value == 0:
        return Broken(f"{stage.text} underflows to zero in {stage.dtype} where it should be {exact}", NO_QUOTIENT)
    return Broken(f"{stage.text} is {short(value)} where it should be {exact}", None)
